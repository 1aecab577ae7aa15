/**
 * Payload transparency: a message whose payload is bytes that the router does not read, instead of
 * arguments. autobahn-js knows arguments only, so at the transport such a payload is carried as the
 * single argument of this class, which no decoder can produce: what arrives as a `Passthru` really was
 * one on the wire, and its `algo` is what the wire said.
 */

/** Where a message type keeps its options or details, and its payload. */
const PLACES: Readonly<Record<number, { options: number; payload: number }>> = {
  8: { options: 3, payload: 5 }, // ERROR
  16: { options: 2, payload: 4 }, // PUBLISH
  36: { options: 3, payload: 4 }, // EVENT
  48: { options: 2, payload: 4 }, // CALL
  50: { options: 2, payload: 3 }, // RESULT
  68: { options: 3, payload: 4 }, // INVOCATION
  70: { options: 2, payload: 3 }, // YIELD
};

export class Passthru {
  readonly bytes: Uint8Array;
  /** `enc_algo`, e.g. `cryptobox`; undefined when the wire did not say. */
  readonly algo: string | undefined;
  /** `enc_serializer`: how the plaintext is serialised, e.g. `json`. */
  readonly serializer: string | undefined;

  constructor(bytes: Uint8Array, algo: string | undefined, serializer: string | undefined) {
    this.bytes = bytes;
    this.algo = algo;
    this.serializer = serializer;
  }
}

/** From autobahn-js to the wire. */
export function toWire(message: unknown[]): unknown[] {
  const place = PLACES[Number(message[0])];
  const args = place && message[place.payload];
  const [payload] = Array.isArray(args) ? (args as unknown[]) : [];
  if (!place || !(payload instanceof Passthru)) return message;
  const options = {
    ...asRecord(message[place.options]),
    enc_algo: payload.algo,
    enc_serializer: payload.serializer,
  };
  return message
    .slice(0, place.payload + 1)
    .with(place.options, options)
    .with(place.payload, payload.bytes);
}

/** From the wire to autobahn-js. */
export function fromWire(message: unknown[]): unknown[] {
  const place = PLACES[Number(message[0])];
  const payload = place && message[place.payload];
  if (!place || !(payload instanceof Uint8Array)) return message;
  const details = asRecord(message[place.options]);
  const passthru = new Passthru(payload, text(details["enc_algo"]), text(details["enc_serializer"]));
  return message.slice(0, place.payload + 1).with(place.payload, [passthru]);
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}
