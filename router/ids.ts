import { randomInt } from "node:crypto";

/**
 * One above the largest id that we make. WAMP allows 2^53, but msgpackr and cbor-x write numbers from
 * 2^32 on as float64, which Autobahn|Python refuses.
 */
export const ID_END = 2 ** 32;

/** A random WAMP id of the global scope, from 1; not one of those that `taken` knows. */
export function newId(taken?: ReadonlyMap<number, unknown>): number {
  let id: number;
  do id = randomInt(1, ID_END);
  while (taken?.has(id));
  return id;
}
