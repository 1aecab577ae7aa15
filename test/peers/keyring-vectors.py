"""Makes the vectors of docs/cryptobox.md with Autobahn|Python, or checks that it still makes the same.

    keyring-vectors.py make FILE
    keyring-vectors.py check FILE

Prints {"messages", "refused"}: how many it made, or found to be what Autobahn|Python makes and refuses.
"""
import base64
import hashlib
import json
import sys

import autobahn
import txaio

txaio.use_asyncio()

from autobahn.wamp import cryptobox, message  # noqa: E402
from autobahn.wamp.serializer import CBORSerializer, JsonSerializer, MsgPackSerializer  # noqa: E402
from autobahn.wamp.types import EncodedPayload  # noqa: E402
from nacl.public import Box, PrivateKey, PublicKey  # noqa: E402

LOW_ORDER = [
    "00" * 32,
    "01" + "00" * 31,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ec" + "ff" * 30 + "7f",
    "ed" + "ff" * 30 + "7f",
    "ee" + "ff" * 30 + "7f",
]
THING, SUM = "com.example.thing", "com.example.sum"
RING = [
    {"uri": "com.example.", "match": "prefix", "originator": ["a"], "responder": ["a"]},
    {"uri": "com.example.deep.", "match": "prefix", "originator": ["b", "a"], "responder": ["b", "a"]},
    {"uri": "com.example.deep.one", "match": "exact", "originator": ["c"]},
]
# (role, URI, keys in order; none: refused)
LOOKUPS = [
    ("originator", THING, ["a"]),
    ("responder", "com.example.deep", ["a"]),
    ("originator", "com.example.deep.two", ["b", "a"]),
    ("originator", "com.example.deep.one", ["c"]),
    ("responder", "com.example.deep.one", []),
    ("originator", "com.example.deep.ones", ["b", "a"]),
    ("originator", "com.exampl", []),
    ("responder", "org.example.thing", []),
]
# (name, message type, who seals, URI, args, kwargs)
MESSAGES = [
    ("an event, published", "PUBLISH", "originator", THING, [], {"ref": "refs/heads/main", "text": "héllo ☃ \U0001F600"}),
    ("an event, delivered", "EVENT", "originator", THING, [1, "two", None, [True, 1.5]], {}),
    ("an event of bytes", "EVENT", "originator", THING, [b"\x00\x01\xff"], {"bytes": b""}),
    ("an event of nothing", "EVENT", "originator", THING, None, None),
    ("a call", "CALL", "originator", SUM, [1, 2], {"id": "7f6c1f0e-3b0a-4c64-9d39-1d2a0b6b9c11"}),
    ("a call, delivered", "INVOCATION", "originator", SUM, [1, 2], {"id": "7f6c1f0e-3b0a-4c64-9d39-1d2a0b6b9c11"}),
    ("a result, yielded", "YIELD", "responder", SUM, [3], None),
    ("a result, delivered", "RESULT", "responder", SUM, [3], {"id": "7f6c1f0e-3b0a-4c64-9d39-1d2a0b6b9c11"}),
    ("an error, as it must be sent", "ERROR 68", "responder", SUM + ".error", ["com.example.overflow", ["too large", 3], {"limit": 2}], {}),
    ("an error, delivered", "ERROR 48", "responder", SUM + ".error", ["com.example.overflow", ["too large", 3], {"limit": 2}], {}),
    ("an error under its own URI, from Autobahn", "ERROR 48", "responder", "com.example.overflow", ["too large", 3], {"limit": 2}),
]


def b64(value):
    return base64.b64encode(value).decode()


def number_of(text, size=32):
    return hashlib.sha256(text.encode()).digest()[:size]


def pair(name):
    secrets = [number_of(f"{side} {name}") for side in ("originator", "responder")]
    publics = [bytes(PrivateKey(secret).public_key) for secret in secrets]
    return {
        "name": name,
        "originator_secret": b64(secrets[0]),
        "originator_public": b64(publics[0]),
        "responder_secret": b64(secrets[1]),
        "responder_public": b64(publics[1]),
        "shared_hex": Box(PrivateKey(secrets[0]), PublicKey(publics[1])).shared_key().hex(),
    }


def rings(key):
    """Of both sides: each with its own secret keys alone."""
    theirs, ours = cryptobox.KeyRing(), cryptobox.KeyRing()
    theirs.set_key("com.", cryptobox.Key(originator_priv=key["originator_secret"], responder_pub=key["responder_public"]))
    ours.set_key("com.", cryptobox.Key(responder_priv=key["responder_secret"], originator_pub=key["originator_public"]))
    return theirs, ours


def wire_message(kind, uri, sealed):
    encoding = {"payload": sealed, "enc_algo": "cryptobox", "enc_serializer": "json"}
    made = {
        "PUBLISH": lambda: message.Publish(17, uri, acknowledge=True, **encoding),
        "EVENT": lambda: message.Event(5, 6, topic=uri, **encoding),
        "CALL": lambda: message.Call(17, uri, **encoding),
        "INVOCATION": lambda: message.Invocation(7, 8, **encoding),
        "YIELD": lambda: message.Yield(7, **encoding),
        "RESULT": lambda: message.Result(17, **encoding),
        "ERROR 68": lambda: message.Error(68, 7, uri, **encoding),
        "ERROR 48": lambda: message.Error(48, 17, uri, **encoding),
    }
    return made[kind]()


def vector(key, index, name, kind, role, uri, args, kwargs):
    originator, responder = rings(key)
    nonce = number_of(f"nonce {index}", Box.NONCE_SIZE)
    cryptobox.random = lambda _size: nonce
    seals, opens = (originator, responder) if role == "originator" else (responder, originator)
    encoded = seals.encode(role == "originator", uri, args, kwargs)
    if opens.decode(role == "responder", uri, encoded) != (uri, args, kwargs):
        raise ValueError(f"{name}: not opened as it was sealed")
    sealed = encoded.payload
    plaintext = opens._get_box(role == "responder", uri).decrypt(sealed).decode()
    made = wire_message(kind, uri, sealed)
    inside = json.loads(plaintext)
    return {
        "name": name,
        "message": kind,
        "sealed_by": role,
        "key": key["name"],
        "uri": uri,
        # In WAMP's JSON: bytes are text that begins with U+0000.
        "args": inside["args"],
        "kwargs": inside["kwargs"],
        "nonce_hex": nonce.hex(),
        "plaintext": plaintext,
        "sealed_hex": sealed.hex(),
        "wire_json": JsonSerializer().serialize(made)[0].decode(),
        "wire_msgpack_hex": MsgPackSerializer().serialize(made)[0].hex(),
        "wire_cbor_hex": CBORSerializer().serialize(made)[0].hex(),
    }


def seal_text(key, text, nonce):
    box = Box(PrivateKey(base64.b64decode(key["originator_secret"])), PublicKey(base64.b64decode(key["responder_public"])))
    return bytes(box.encrypt(text.encode(), nonce))


def refused(keys):
    """What a responder must refuse that expects an event on THING under the ring; `too`: Autobahn does as well."""
    a, b, _c = keys
    good = vector(a, 1, *MESSAGES[1])["sealed_hex"]
    nonce = number_of("refused", Box.NONCE_SIZE)

    def flipped(at):
        whole = bytearray.fromhex(good)
        whole[at] ^= 1
        return whole.hex()

    def of_text(text):
        return seal_text(a, text, nonce).hex()

    sealed = [
        ("another key", seal_text(b, json.dumps({"uri": THING, "args": [], "kwargs": {}}), nonce).hex(), True),
        ("a garbled nonce", flipped(0), True),
        ("a garbled MAC", flipped(24), True),
        ("a garbled ciphertext", flipped(-1), True),
        ("the last byte missing", good[:-2], True),
        ("no more than nonce and MAC", good[:80], True),
        ("less than nonce and MAC", good[:78], True),
        ("nothing", "", True),
        ("sealed for another URI", of_text('{"uri":"com.example.other","args":[],"kwargs":{}}'), True),
        ("sealed for a URI that begins alike", of_text('{"uri":"com.example.thing.error","args":[],"kwargs":{}}'), True),
        ("sealed for no URI", of_text('{"args":[],"kwargs":{}}'), True),
        ("no JSON inside", of_text('{"uri":"com.example.thing"'), True),
        ("not a JSON object inside", of_text('["com.example.thing"]'), True),
        ("text after U+0000 that is not base64", of_text('{"uri":"com.example.thing","args":["\\u0000%"],"kwargs":{}}'), False),
        ("args that are no list", of_text('{"uri":"com.example.thing","args":"x","kwargs":{}}'), False),
        ("kwargs that are no object", of_text('{"uri":"com.example.thing","args":[],"kwargs":[]}'), False),
    ]
    encoding = {"enc_algo": "cryptobox", "enc_serializer": "json"}
    vectors = [{"name": name, "details": encoding, "sealed_hex": hexes, "too": too} for name, hexes, too in sealed]
    for name, details, too in [
        ("another enc_algo", {"enc_algo": "xbr", "enc_serializer": "json"}, True),
        ("no enc_algo", {"enc_serializer": "json"}, False),
        ("another enc_serializer", {"enc_algo": "cryptobox", "enc_serializer": "cbor"}, True),
        ("no enc_serializer", {"enc_algo": "cryptobox"}, True),
    ]:
        vectors.append({"name": name, "details": details, "sealed_hex": good, "too": too})
    vectors.append({"name": "plain text", "details": {}, "sealed_hex": None, "too": False})
    return vectors


def autobahn_takes(key, each):
    _theirs, ours = rings(key)
    details = each["details"]
    try:
        payload = EncodedPayload(
            bytes.fromhex(each["sealed_hex"]), details.get("enc_algo"), details.get("enc_serializer"), None
        )
        return ours.decode(False, THING, payload)[0] == THING
    except Exception:
        return False


def takes_low_order(hexes, key):
    try:
        cryptobox.Key(responder_priv=key["responder_secret"], originator_pub=b64(bytes.fromhex(hexes)))
        return True
    except Exception:
        return False


def vectors():
    keys = [pair(name) for name in ("a", "b", "c")]
    return {
        "about": "docs/cryptobox.md",
        "keys": keys,
        "low_order_public_hex": LOW_ORDER,
        "ring": RING,
        "lookups": [{"role": role, "uri": uri, "keys": names} for role, uri, names in LOOKUPS],
        "messages": [vector(keys[0], index, *each) for index, each in enumerate(MESSAGES)],
        "refused": {"expected": {"message": "EVENT", "role": "responder", "uri": THING, "ring": RING}, "vectors": refused(keys)},
    }


def main():
    what, path = sys.argv[1:]
    made = vectors()
    [first, *_others] = made["keys"]
    for each in made["refused"]["vectors"]:
        if each.pop("too") and autobahn_takes(first, each):
            raise ValueError(f"Autobahn|Python takes {each['name']}")
    for hexes in LOW_ORDER:
        if takes_low_order(hexes, first):
            raise ValueError(f"Autobahn|Python takes the low-order key {hexes}")
    if what == "make":
        made["generator"] = f"Autobahn|Python {autobahn.__version__}"
        with open(path, "w", encoding="utf8") as file:
            json.dump(made, file, indent=1, ensure_ascii=False)
            file.write("\n")
    else:
        with open(path, encoding="utf8") as file:
            frozen = json.load(file)
        del frozen["generator"]
        if frozen != json.loads(json.dumps(made)):
            raise ValueError("Autobahn|Python makes other vectors")
    print(json.dumps({"messages": len(made["messages"]), "refused": len(made["refused"]["vectors"])}))


if __name__ == "__main__":
    main()
