/**
 * The ids of what a router says to our client. autobahn-js looks them up as the keys of plain objects, where
 * `constructor` is always found, and answers the router with what goes wrong then, in plain text.
 */
import { OnionhookError } from "../errors.ts";

/** WAMP Basic Profile, "IDs". */
const LARGEST_ID = 2 ** 53;

/** Where a message type has ids, beside its own number; ERROR has the number of another type there, too. */
const PLACES: Readonly<Record<number, readonly number[]>> = {
  2: [1], // WELCOME
  8: [1, 2], // ERROR
  17: [1, 2], // PUBLISHED
  33: [1, 2], // SUBSCRIBED
  35: [1], // UNSUBSCRIBED
  36: [1, 2], // EVENT
  50: [1], // RESULT
  65: [1, 2], // REGISTERED
  67: [1], // UNREGISTERED
  68: [1, 2], // INVOCATION
  69: [1], // INTERRUPT
};

/**
 * The message as it is. Request 0, with which a router takes back a subscription or a registration, is no id: the
 * session ends, and the next one has both again.
 * @throws OnionhookError `ERR_WAMP_MESSAGE`
 */
export function checkIds(message: unknown[]): unknown[] {
  const places = PLACES[Number(message[0])] ?? [];
  for (const place of [0, ...places])
    if (!isId(message[place])) throw new OnionhookError("ERR_WAMP_MESSAGE", "an id that is none");
  return message;
}

/** Some serializers make it a BigInt. */
function isId(value: unknown): boolean {
  if (typeof value === "bigint") return value >= 1n && value <= LARGEST_ID;
  return typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= LARGEST_ID;
}
