"""A builder written with Autobahn|Python alone, from the file that `onionhook keys autobahn` writes, for a router on this host.

    autobahn-builder.py KEYS-FILE URL SERIALIZER

Prints one JSON object a line: {"joined": serializer} whenever it has subscribed, and for each event {"topic", "kwargs"}.
"""
import asyncio
import json
import sys
from urllib.parse import urlsplit

from autobahn.asyncio.component import Component
from autobahn.wamp import cryptobox
from autobahn.wamp.types import SubscribeOptions

keys_file, url, serializer = sys.argv[1:4]
# It would ask the DNS for the name, and so tell everybody on the way.
if (urlsplit(url).hostname or "").rstrip(".").endswith(".onion"):
    sys.exit("this example does not go through Tor: original-builder.py does")
with open(keys_file) as file:
    keys = json.load(file)


def tell(**fields):
    print(json.dumps(fields), flush=True)


component = Component(
    transports=[
        {
            "type": "websocket",
            "url": url,
            "serializers": [serializer],
            # Seconds. By default it waits half as long again after every loss, up to 300 s, and is never reset.
            "initial_retry_delay": 0.3,
            "retry_delay_growth": 1,
            "retry_delay_jitter": 0,
        }
    ],
    realm=keys["realm"],
    authentication={"cryptosign": {"authid": keys["authid"], "privkey": keys["cryptosign_seed"]}},
)


@component.on_join
async def joined(session, details):
    ring = cryptobox.KeyRing()
    for key in keys["keyring"]:
        ring.set_key(
            key["uri"],
            cryptobox.Key(responder_priv=key["responder_priv"], originator_pub=key["originator_pub"]),
        )
    session.set_payload_codec(ring)

    def on_event(*args, details=None, **kwargs):
        tell(topic=details.topic, kwargs=kwargs)

    await session.subscribe(
        on_event, "webhook.github.", options=SubscribeOptions(match="prefix", details_arg="details")
    )
    tell(joined=serializer)


async def main():
    await component.start()


if __name__ == "__main__":
    asyncio.run(main())
