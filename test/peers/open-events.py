"""Opens sealed events as a subscriber of Autobahn|Python gets them: by its KeyRing.

    open-events.py FILE

FILE has one JSON object a line. The first: {"responder_priv", "originator_pub"}; each further one is an
event: {"topic", "sealed", "body"}, the last two in base64, `body` being what was sent and is now expected.
Prints {"opened", "equal", "failures"}: how many opened, how many of these hold what was sent, and the topics of
others with the reason.
"""
import base64
import json
import sys

from autobahn.wamp import cryptobox
from autobahn.wamp.types import EncodedPayload


def opened(ring, topic, sealed):
    """What autobahn/wamp/protocol.py does with an EVENT."""
    payload = EncodedPayload(sealed, "cryptobox", "json", None)
    uri, args, kwargs = ring.decode(False, topic, payload)
    if uri != topic:
        raise ValueError("sealed for another topic")
    if args != []:
        raise ValueError("has args")
    return kwargs


def without_record(kwargs):
    return {key: value for key, value in kwargs.items() if key != "_delivery"}


def main():
    counts = {"opened": 0, "equal": 0, "failures": []}
    with open(sys.argv[1], encoding="ascii") as file:
        ring = cryptobox.KeyRing()
        ring.set_key("webhook.github.", cryptobox.Key(**json.loads(next(file))))
        for line in file:
            event = json.loads(line)
            try:
                kwargs = opened(ring, event["topic"], base64.b64decode(event["sealed"]))
                counts["opened"] += 1
                record = kwargs["_delivery"]
                if record["v"] != 1 or record["body_bytes"] != len(base64.b64decode(event["body"])):
                    raise ValueError("is not the edge's record")
                if without_record(kwargs) != without_record(json.loads(base64.b64decode(event["body"]))):
                    raise ValueError("holds another body")
                counts["equal"] += 1
            except Exception as error:
                counts["failures"].append(f"{event['topic']}: {type(error).__name__}: {error}"[:300])
    counts["failures"] = counts["failures"][:10]
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
