"""A client on Autobahn|Python that seals by its KeyRings, and does what it is told.

    keyring.py CONFIG-FILE

CONFIG-FILE: {"url", "serializer", "realm", "authid", "seed", "rings": {NAME: [{"uri", …keys}]}}. Prints {"joined": true},
then for each command, one JSON object a line on stdin with "id", {"id", …what came of it}; and {"event": …} for
each event. `ring` of a command names the KeyRing for it and all that follow; "none": nothing is sealed.
"""
import asyncio
import json
import sys

from autobahn.asyncio.component import Component
from autobahn.wamp import cryptobox
from autobahn.wamp.exception import ApplicationError
from autobahn.wamp.types import CallOptions, CallResult, PublishOptions, RegisterOptions, SubscribeOptions

with open(sys.argv[1]) as file:
    config = json.load(file)


def ring_of(entries):
    ring = cryptobox.KeyRing()
    for entry in entries:
        keys = {name: value for name, value in entry.items() if name != "uri"}
        ring.set_key(entry["uri"], cryptobox.Key(**keys))
    return ring


rings = {name: ring_of(entries) for name, entries in config["rings"].items()}


def plain(value):
    """Bytes as {"bytes": hex}: JSON has none."""
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return value


def real(value):
    if isinstance(value, dict) and set(value) == {"bytes"}:
        return bytes.fromhex(value["bytes"])
    if isinstance(value, list):
        return [real(each) for each in value]
    if isinstance(value, dict):
        return {key: real(each) for key, each in value.items()}
    return value


def tell(**fields):
    print(json.dumps(plain(fields)), flush=True)


def answer(*args, details=None, **kwargs):
    """A procedure: what it does is its first argument."""
    what, *rest = args
    if what == "echo":
        return CallResult(*rest, **kwargs)
    if what == "one":
        return rest[0]
    if what == "fail":
        raise ApplicationError(rest[0], *rest[1:], **kwargs)
    raise ValueError(rest[0])


def on_event(*args, details=None, **kwargs):
    tell(event={"topic": details.topic, "args": args, "kwargs": kwargs, "algo": details.enc_algo})


async def do(session, command):
    what = command["do"]
    args, kwargs = real(command.get("args", [])), real(command.get("kwargs", {}))
    if what == "subscribe":
        options = SubscribeOptions(match=command["match"], details_arg="details")
        await session.subscribe(on_event, command["uri"], options=options)
    elif what == "register":
        await session.register(answer, command["uri"], options=RegisterOptions(details_arg="details"))
    elif what == "publish":
        await session.publish(command["uri"], *args, options=PublishOptions(acknowledge=True), **kwargs)
    elif what == "call":
        try:
            result = await session.call(command["uri"], *args, options=CallOptions(details=True), **kwargs)
            return {"args": result.results, "kwargs": result.kwresults}
        except ApplicationError as error:
            return {"error": error.error, "args": error.args, "kwargs": error.kwargs, "algo": error.enc_algo}
    return {}


component = Component(
    transports=[
        {"type": "websocket", "url": config["url"], "serializers": [config["serializer"]], "max_retries": 0}
    ],
    realm=config["realm"],
    authentication={"cryptosign": {"authid": config["authid"], "privkey": config["seed"]}},
)


@component.on_join
async def joined(session, details):
    tell(joined=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    async for line in reader:
        command = json.loads(line)
        if "ring" in command:
            session.set_payload_codec(rings.get(command["ring"]))
        try:
            tell(id=command["id"], **await do(session, command))
        except Exception as error:
            tell(id=command["id"], failed=f"{type(error).__name__}: {error}")
    session.leave()


async def main():
    await component.start()


if __name__ == "__main__":
    asyncio.run(main())
