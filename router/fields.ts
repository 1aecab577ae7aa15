/** The parts of which messages are made, checked one by one. Every function throws a ProtocolFault. */
import type { Match } from "../shared/wamp/match.ts";
import { malformed, unusable } from "./faults.ts";
import { isDict, type Dict } from "./payload.ts";
import { isPattern, isUri } from "./uri.ts";

/** A request id, kept as it was decoded, so that it goes back as it came. */
export type RequestId = number | bigint;

/** WAMP Basic Profile, "IDs"; Autobahn|Python takes 0 as well, so do we. */
const LARGEST_ID = 2 ** 53;

export function sized(list: readonly unknown[], length: number): readonly unknown[] {
  if (list.length !== length) throw malformed("a message of the wrong length");
  return list;
}

export function atLeast(list: readonly unknown[], length: number): readonly unknown[] {
  if (list.length < length) throw malformed("a message that is too short");
  return list;
}

export function dict(value: unknown, what: string): Dict {
  if (!isDict(value)) throw malformed(`${what} must be a dictionary`);
  return value;
}

export function text(value: unknown, what: string): string {
  if (typeof value !== "string") throw malformed(`${what} must be text`);
  return value;
}

export function optionalText(value: unknown, what: string): string | undefined {
  return value === undefined || value === null ? undefined : text(value, what);
}

/** False where it is not there. */
export function flag(options: Dict, key: string): boolean {
  const value = options[key] === undefined ? false : options[key];
  if (typeof value !== "boolean") throw malformed(`${key} must be true or false`);
  return value;
}

/** One of the values of a `const` list, or its first where the option is not there. */
export function choice<const Choice extends string>(
  options: Dict,
  key: string,
  choices: readonly [Choice, ...Choice[]],
): Choice {
  const value = options[key];
  if (value === undefined) return choices[0];
  const found = choices.find((each) => each === value);
  if (found === undefined) throw malformed(`unknown ${key}`);
  return found;
}

/** A whole number from `least`, or undefined where it is not there. */
export function count(options: Dict, key: string, least: number): number | undefined {
  const value = options[key];
  if (value === undefined) return undefined;
  const number = typeof value === "bigint" ? Number(value) : value;
  if (typeof number !== "number" || !Number.isInteger(number) || number < least)
    throw malformed(`${key} must be a whole number from ${least}`);
  return number;
}

export function uri(value: unknown): string {
  if (typeof value !== "string" || !isUri(value)) throw unusable("a malformed URI");
  return value;
}

/** A URI in which components may be empty, as far as `match` lets them. */
export function pattern(value: unknown, match: Match): string {
  if (typeof value !== "string" || !isPattern(value, match)) throw unusable("a malformed URI");
  return value;
}

export function id(value: unknown): RequestId {
  if (typeof value === "bigint" && value >= 0n && value <= LARGEST_ID) return value;
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= LARGEST_ID) return value;
  throw malformed("an id must be a whole number from 0 to 2^53");
}

/** An id that we made and the client sends back; some serializers make it a BigInt. */
export function ourId(value: unknown): number {
  return Number(id(value));
}
