"""Sessions of Autobahn|Python, steered from outside: test/conformance/autobahn-python.ts is the other end.

    conformance.py

Takes one JSON object a line on stdin, {"id", "session", "do", …}, and answers each with {"id", "ok"} or
{"id", "error": {"uri", "args", "kwargs"}}. What happens to a session by itself is said as {"session", "event",
"fields"}: an invocation waits until `answer` says what it shall return. Bytes are {"$bytes": base64} both ways.
Everything else is Autobahn's own doing: what it refuses to send or to take, it refuses here.
"""
import asyncio
import base64
import json
import sys
from urllib.parse import urlparse

import txaio

txaio.use_asyncio()

from autobahn.asyncio.wamp import ApplicationSession
from autobahn.asyncio.websocket import WampWebSocketClientFactory
from autobahn.wamp import serializer
from autobahn.wamp.auth import create_authenticator
from autobahn.wamp.exception import ApplicationError
from autobahn.wamp.types import (
    CallOptions,
    CallResult,
    ComponentConfig,
    EncodedPayload,
    PublishOptions,
    RegisterOptions,
    SubscribeOptions,
)

SERIALIZERS = {
    "json": serializer.JsonSerializer,
    "msgpack": serializer.MsgPackSerializer,
    "cbor": serializer.CBORSerializer,
}
CALLER_FIELDS = ("procedure", "caller", "caller_authid", "caller_authrole")
EVENT_FIELDS = ("publication", "publisher", "publisher_authid", "publisher_authrole", "topic")

sessions = {}


def plain(value):
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value


def revive(value):
    if isinstance(value, dict):
        if set(value) == {"$bytes"}:
            return base64.b64decode(value["$bytes"])
        return {key: revive(each) for key, each in value.items()}
    return [revive(each) for each in value] if isinstance(value, list) else value


def tell(**fields):
    print(json.dumps(plain(fields)), flush=True)


class OpaqueCodec:
    """Payload transparency with bytes that nobody reads: URIs under `sealed.` carry their first argument as it is."""

    def encode(self, is_originating, uri, args=None, kwargs=None):
        return EncodedPayload(args[0], "cryptobox", "json") if uri.startswith("sealed.") else None

    def decode(self, is_originating, uri, encoded):
        if (encoded.enc_algo, encoded.enc_serializer) != ("cryptobox", "json"):
            raise ValueError("the encoding did not come through")
        return uri, [encoded.payload], None


class Session(ApplicationSession):
    def __init__(self, name, command):
        super().__init__(ComponentConfig(realm=command["realm"]))
        self.name = name
        self.claimed = command["authid"]
        self.signer = create_authenticator("cryptosign", authid=self.claimed, privkey=command["seed"])
        self.joined = asyncio.get_running_loop().create_future()
        self.subscriptions = {}
        self.registrations = {}
        self.calls = {}
        self.waiting = {}
        self.invoked = 0

    def say(self, event, **fields):
        tell(session=self.name, event=event, fields=fields)

    def onConnect(self):
        self.set_payload_codec(OpaqueCodec())
        self.join(self.config.realm, ["cryptosign"], self.claimed, authextra=self.signer.authextra)

    def onChallenge(self, challenge):
        return self.signer.on_challenge(self, challenge)

    def onWelcome(self, message):
        self.welcome = message.marshal()[2]

    def onJoin(self, details):
        self.joined.set_result({"id": details.session, "welcome": self.welcome})

    def onLeave(self, details):
        if not self.joined.done():
            self.joined.set_exception(ApplicationError(details.reason, details.message))
        self.say("left", reason=details.reason)
        super().onLeave(details)

    def onDisconnect(self):
        self.say("closed")
        super().onDisconnect()

    async def do_publish(self, topic, args, kwargs, options):
        published = self.publish(topic, *args, **kwargs, options=PublishOptions(**options))
        return (await published).id if published is not None else None

    async def do_subscribe(self, topic, handle, match):
        def on_event(*args, details, **kwargs):
            fields = {key: getattr(details, key) for key in EVENT_FIELDS}
            fields["subscription"] = details.subscription.id
            self.say("event", handle=handle, args=args, kwargs=kwargs, details=fields)

        made = await self.subscribe(on_event, topic, options=SubscribeOptions(match=match, details_arg="details"))
        self.subscriptions[handle] = made
        return made.id

    async def do_unsubscribe(self, handle):
        await self.subscriptions.pop(handle).unsubscribe()

    async def do_register(self, procedure, handle, options):
        async def invoke(*args, details, **kwargs):
            self.invoked += 1
            number = self.invoked
            answer = asyncio.get_running_loop().create_future()
            self.waiting[number] = (answer, details.progress)
            fields = {key: getattr(details, key) for key in CALLER_FIELDS}
            fields["progress"] = details.progress is not None
            self.say("invocation", handle=handle, number=number, args=args, kwargs=kwargs, details=fields)
            try:
                return await answer
            except asyncio.CancelledError:
                self.say("interrupted", number=number)
                raise
            finally:
                del self.waiting[number]

        made = await self.register(invoke, procedure, options=RegisterOptions(details_arg="details", **options))
        self.registrations[handle] = made
        return made.id

    async def do_unregister(self, handle):
        await self.registrations.pop(handle).unregister()

    async def do_answer(self, number, how, uri=None, args=(), kwargs={}):
        if number not in self.waiting:
            return
        answer, progress = self.waiting[number]
        if how == "progress":
            progress(*args, **kwargs)
        elif how == "result":
            answer.set_result(CallResult(*args, **kwargs))
        elif how == "error":
            answer.set_exception(ApplicationError(uri, *args, **kwargs))
        else:
            answer.set_exception(ValueError(*args))

    async def do_call(self, procedure, handle, args, kwargs, progress):
        def on_progress(*args, **kwargs):
            self.say("progress", handle=handle, args=args, kwargs=kwargs)

        options = CallOptions(on_progress=on_progress if progress else None)
        call = self.calls[handle] = self.call(procedure, *args, **kwargs, options=options)
        try:
            result = await call
        finally:
            del self.calls[handle]
        if isinstance(result, CallResult):
            return {"args": result.results, "kwargs": result.kwresults}
        return {"args": [] if result is None else [result], "kwargs": {}}

    async def do_cancel(self, handle):
        self.calls[handle].cancel()

    async def do_leave(self):
        self.leave()

    async def do_drop(self):
        self._transport.transport.abort()


async def connect(name, command):
    session = sessions[name] = Session(name, command)
    factory = WampWebSocketClientFactory(
        lambda: session, url=command["url"], serializers=[SERIALIZERS[command["serializer"]]()]
    )
    address = urlparse(command["url"])
    await asyncio.get_running_loop().create_connection(factory, address.hostname, address.port)
    return await session.joined


async def perform(command):
    number, name, do = command.pop("id"), command.pop("session"), command.pop("do")
    try:
        if do == "join":
            ok = await connect(name, command)
        else:
            ok = await getattr(sessions[name], f"do_{do}")(**revive(command))
        tell(id=number, ok=ok)
    except ApplicationError as error:
        tell(id=number, error={"uri": error.error, "args": error.args, "kwargs": error.kwargs})
    except asyncio.CancelledError:
        tell(id=number, error={"uri": "wamp.error.canceled", "args": [], "kwargs": {}})
    except Exception as error:
        tell(id=number, error={"uri": "python", "args": [f"{type(error).__name__}: {error}"], "kwargs": {}})


async def main():
    lines = asyncio.StreamReader(limit=64 * 1024 * 1024)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    running = set()
    while line := await lines.readline():
        task = asyncio.ensure_future(perform(json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)


asyncio.run(main())
