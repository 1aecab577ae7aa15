/** What becomes of messages under a seeded hand. */
import type { SerializerId } from "../../shared/wamp/serializers.ts";
import type { Random } from "../chaos/random.ts";
import { BINARY, encode, TEXT, writeFrame } from "./raw-socket.ts";
import { BOMBS, MESSAGES, ODD } from "./specimens.ts";

/** What a mutation is: the bytes to send, and whether the router may rightly wait for more of them. */
export interface Mutation {
  readonly bytes: Buffer;
  readonly kind: "value" | "bytes" | "frame";
}

/** A message after mutation, as the frame or frames to send. */
export function mutate(random: Random, id: SerializerId): Mutation {
  const kind = random.weighted({ value: 6, bytes: 3, frame: 1 });
  const message = random.pick(MESSAGES);
  if (kind === "frame") return { kind, bytes: brokenFrame(random, id, encode(id, message)) };
  const mutated =
    kind === "value"
      ? safely(id, mutateValue(random, message))
      : mutateBytes(random, id, encode(id, message));
  return { kind, bytes: writeFrame({ opcode: id === "json" ? TEXT : BINARY, payload: mutated }) };
}

/** Some values no serializer writes: then the message goes as it was. */
function safely(id: SerializerId, message: unknown): Buffer {
  try {
    return encode(id, Array.isArray(message) ? message : [message]);
  } catch {
    return encode(id, [null]);
  }
}

function mutateValue(random: Random, value: unknown): unknown {
  let mutated = value;
  for (let times = random.int(1, 2); times > 0; times--) mutated = mutateAt(random, mutated, 0);
  return mutated;
}

function mutateAt(random: Random, value: unknown, level: number): unknown {
  const inside = level === 0 || random.int(0, 2) > 0;
  if (inside && Array.isArray(value) && value.length > 0) {
    const at = random.int(0, value.length - 1);
    const list: unknown[] = [...(value as unknown[])];
    switch (random.int(0, 9)) {
      case 0:
        return list.toSpliced(at, 1);
      case 1:
        return list.toSpliced(at, 0, random.pick(ODD)(random));
      case 2:
        return [...list, random.pick(ODD)(random)];
      case 3:
        return list.slice(0, at);
      default:
        return list.with(at, mutateAt(random, list[at], level + 1));
    }
  }
  if (inside && typeof value === "object" && value !== null && !(value instanceof Uint8Array)) {
    const entries = Object.entries(value);
    if (entries.length === 0 || random.int(0, 4) === 0)
      return {
        ...value,
        [random.pick(["match", "acknowledge", "mode", "roles", "x", "timeout", "eligible", "enc_algo"])]:
          random.pick(ODD)(random),
      };
    const [key, inner] = random.pick(entries);
    return random.int(0, 4) === 0
      ? Object.fromEntries(entries.filter(([name]) => name !== key))
      : { ...value, [key]: mutateAt(random, inner, level + 1) };
  }
  return random.pick(ODD)(random);
}

function mutateBytes(random: Random, id: SerializerId, bytes: Buffer): Buffer {
  const at = random.int(0, bytes.length);
  const some = Buffer.from(random.hex(random.int(1, 12)), "hex");
  switch (random.int(0, 6)) {
    case 0:
      return bytes.subarray(0, at);
    case 1:
      return Buffer.concat([bytes.subarray(0, at), some, bytes.subarray(at)]);
    case 2:
      return Buffer.concat([
        bytes.subarray(0, at),
        bytes.subarray(Math.min(bytes.length, at + random.int(1, 8))),
      ]);
    case 3:
      return Buffer.concat([bytes, random.int(0, 1) === 0 ? bytes : some]);
    case 4: {
      const bomb = Buffer.from(random.pick(BOMBS[id]), "hex");
      return random.int(0, 1) === 0 ? bomb : Buffer.concat([bytes.subarray(0, at), bomb, bytes.subarray(at)]);
    }
    default: {
      const flipped = Buffer.from(bytes);
      for (let times = random.int(1, 4); times > 0; times--) {
        const spot = random.int(0, flipped.length - 1);
        flipped[spot] = (flipped[spot] ?? 0) ^ (1 << random.int(0, 7));
      }
      return flipped;
    }
  }
}

/** Frames against RFC 6455, or at its edge. */
function brokenFrame(random: Random, id: SerializerId, payload: Buffer): Buffer {
  const opcode = id === "json" ? TEXT : BINARY;
  const half = payload.subarray(0, payload.length >> 1);
  const rest = payload.subarray(payload.length >> 1);
  switch (random.int(0, 13)) {
    case 0:
      return writeFrame({ opcode, payload, masked: false });
    case 1:
      return writeFrame({ opcode: random.int(3, 7), payload });
    case 2:
      return writeFrame({ opcode, payload, reserved: random.int(1, 7) });
    case 3:
      return writeFrame({ opcode: 0, payload });
    case 4:
      return Buffer.concat([
        writeFrame({ opcode, payload: half, final: false }),
        writeFrame({ opcode, payload: rest }),
      ]);
    case 5:
      return Buffer.concat([
        writeFrame({ opcode, payload: half, final: false }),
        writeFrame({ opcode: 9 }),
        writeFrame({ opcode: 0, payload: rest }),
      ]);
    case 6:
      return writeFrame({ opcode: random.int(8, 15), payload: Buffer.alloc(200) });
    case 7:
      return writeFrame({ opcode: 9, payload: half.subarray(0, 100), final: false });
    case 8:
      return writeFrame({
        opcode,
        payload,
        length: random.pick([2n ** 63n, 2n ** 53n, 2n ** 40n, 67_108_865n]),
      });
    case 9:
      return writeFrame({
        opcode: 8,
        payload: Buffer.from(random.pick(["03", "03e7", "03ed", "ffff", "03e8ff", "0000"]), "hex"),
      });
    case 10:
      return writeFrame({ opcode: opcode === TEXT ? BINARY : TEXT, payload });
    case 11:
      return writeFrame({ opcode: TEXT, payload: Buffer.from("fffec080", "hex") });
    case 12:
      return Buffer.from(random.hex(random.int(1, 60)), "hex");
    default:
      return Buffer.concat(
        Array.from({ length: 200 }, () => writeFrame({ opcode: 9, payload: Buffer.from("ping") })),
      );
  }
}
