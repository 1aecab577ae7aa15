"""A builder in the manner of the txtorcon documentation builder: Autobahn|Python on Twisted, a key for pushes alone.

    original-builder.py KEYS-FILE ENDPOINT

KEYS-FILE is what `onionhook keys autobahn` writes. ENDPOINT is the path of the router's unix socket, or a client
endpoint of txtorcon, such as tor:ONION:80:socksHostname=127.0.0.1:socksPort=9050 (with a socksPort it needs the
socksHostname too).
"""
import json
import sys

from autobahn.twisted.component import Component, run
from autobahn.wamp.cryptobox import Key, KeyRing
from autobahn.wamp.types import SubscribeOptions
from twisted.internet import reactor
from twisted.internet.endpoints import clientFromString

keys_file, where = sys.argv[1:3]
with open(keys_file) as file:
    keys = json.load(file)

# Events are sealed to us: we are the responder. Nothing but pushes is meant for this builder.
ring = KeyRing()
for key in keys["keyring"]:
    ring.set_key(
        "webhook.github.push",
        Key(responder_priv=key["responder_priv"], originator_pub=key["originator_pub"]),
    )

if where.startswith("tor:"):
    transport = {
        "url": "ws://{}:{}/".format(*where.split(":")[1:3]),
        "endpoint": clientFromString(reactor, where),
    }
else:
    transport = {"url": "ws://localhost/ws", "endpoint": {"type": "unix", "path": where}}

builder = Component(
    transports=[transport],
    realm=keys["realm"],
    authentication={"cryptosign": {"authid": keys["authid"], "privkey": keys["cryptosign_seed"]}},
)


def tell(what, **fields):
    print(json.dumps({"said": what, **fields}), flush=True)


@builder.subscribe("webhook.github.push")
def on_push(**body):
    tell("push", delivery=body["_delivery"]["id"], ref=body["ref"])


@builder.subscribe(
    "webhook.github.", options=SubscribeOptions(match="prefix", details_arg="details")
)
def on_anything(details=None, **body):
    tell("event", delivery=body["_delivery"]["id"], topic=details.topic)


@builder.on_join
def joined(session, details):
    session.set_payload_codec(ring)


@builder.on_ready
def ready(session):
    tell("ready")


if __name__ == "__main__":
    run([builder])
