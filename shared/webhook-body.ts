/**
 * What a webhook's body must be so that every receiver can read it: one JSON object in strict UTF-8,
 * of bounded depth and number length. Autobahn|Python drops an event whose body breaks one of these.
 *
 * The scan reads bytes and builds nothing of the body's size, so that 25 MiB cost no memory beyond
 * themselves. It is RFC 8259's grammar as one loop over a stack of open brackets.
 */
import { type BodyFacts, gatherFacts } from "./body-facts.ts";

/** GitHub's cap for a webhook payload: 25 MB, of which it speaks in binary units. */
export const MAX_BODY_BYTES = 25 * 1024 * 1024;
/** Nesting, the outer object included. Python's parser gives up near 900; GitHub's payloads stay under 12. */
export const MAX_DEPTH = 256;
/** Characters of one number. Python refuses integers of over 4,300 digits; GitHub's ids have under 20. */
export const MAX_NUMBER_LENGTH = 1000;

/** `leadingNul`: offsets of values that are strings beginning with the escape `\u0000`. */
export type BodyScan = { ok: true; leadingNul: number[]; facts: BodyFacts } | { ok: false; fault: string };

/** What is decoded at a time, only to see that it can be. */
const UTF8_SLICE_BYTES = 64 * 1024;

const NUL_ESCAPE = [0x5c, 0x75, 0x30, 0x30, 0x30, 0x30]; // the six characters of a NUL's escape
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const LITERALS = ["true", "false", "null"].map((word) => Array.from(word, (letter) => letter.charCodeAt(0)));

type Want = "value" | "first-value" | "key" | "first-key" | "colon" | "separator" | "end";

export function scanBody(body: Uint8Array): BodyScan {
  if (!isUtf8(body)) return { ok: false, fault: "the body is not strict UTF-8" };
  const gatherer = gatherFacts(body);
  const leadingNul: number[] = [];
  const stack: number[] = [];
  /** What the grammar allows next. */
  let want: Want = "value";
  let at = skipSpace(body, 0);
  if (body[at] !== OPEN_OBJECT) return { ok: false, fault: "the body is not a JSON object" };

  const close = (): Want => {
    stack.pop();
    at += 1;
    return stack.length === 0 ? "end" : "separator";
  };

  while (at < body.length) {
    const byte = body[at];
    if (want === "end") return bad(at);
    if (want === "colon") {
      if (byte !== COLON) return bad(at);
      want = "value";
      at += 1;
    } else if (want === "separator") {
      const inObject = stack.at(-1) === OPEN_OBJECT;
      if (byte === COMMA) {
        want = inObject ? "key" : "value";
        at += 1;
      } else if (byte === (inObject ? CLOSE_OBJECT : CLOSE_ARRAY)) want = close();
      else return bad(at);
    } else if (want === "key" || want === "first-key") {
      if (byte === CLOSE_OBJECT && want === "first-key") want = close();
      else {
        const end = byte === QUOTE ? stringEnd(body, at) : -1;
        if (end < 0) return bad(at);
        gatherer.key(stack.length, at, end);
        want = "colon";
        at = end;
      }
    } else if (byte === CLOSE_ARRAY && want === "first-value") want = close();
    else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
      if (stack.length === MAX_DEPTH)
        return { ok: false, fault: `the body is nested deeper than ${MAX_DEPTH} levels` };
      stack.push(byte);
      gatherer.open(stack.length);
      want = byte === OPEN_OBJECT ? "first-key" : "first-value";
      at += 1;
    } else {
      let end: number;
      if (byte === QUOTE) {
        end = stringEnd(body, at);
        if (startsWith(body, at + 1, NUL_ESCAPE)) leadingNul.push(at + 1);
      } else {
        end = literalEnd(body, at) ?? numberEnd(body, at);
        if (end - at > MAX_NUMBER_LENGTH) {
          return { ok: false, fault: `the body has a number of more than ${MAX_NUMBER_LENGTH} characters` };
        }
      }
      if (end < 0) return bad(at);
      gatherer.value(stack.length, at, end);
      want = "separator";
      at = end;
    }
    at = skipSpace(body, at);
  }
  return want === "end" ? { ok: true, leadingNul, facts: gatherer.facts() } : bad(at);
}

/** In slices: as one string, a body of 25 MiB would take up to 50 MiB beside itself. */
function isUtf8(body: Uint8Array): boolean {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  try {
    for (let at = 0; at < body.length; at += UTF8_SLICE_BYTES) {
      decoder.decode(body.subarray(at, at + UTF8_SLICE_BYTES), { stream: true });
    }
    // A character cut short at the body's end shows here.
    decoder.decode();
    return true;
  } catch {
    return false;
  }
}

function bad(at: number): BodyScan {
  return { ok: false, fault: `the body is not JSON: unexpected at byte ${at}` };
}

function skipSpace(body: Uint8Array, from: number): number {
  let at = from;
  for (;;) {
    const byte = body[at];
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return at;
    at += 1;
  }
}

/** The offset after the string that opens at `from`, or -1. */
function stringEnd(body: Uint8Array, from: number): number {
  for (let at = from + 1; at < body.length; at += 1) {
    const byte = body[at] ?? 0;
    if (byte === QUOTE) return at + 1;
    if (byte < 0x20) return -1;
    if (byte === BACKSLASH) {
      at += 1;
      if (body[at] === 0x75) {
        for (let digit = 1; digit <= 4; digit += 1) if (!isHexDigit(body[at + digit])) return -1;
        at += 4;
      } else if (!isSimpleEscape(body[at])) return -1;
    }
  }
  return -1;
}

function isHexDigit(byte = 0): boolean {
  const lower = byte | 0x20;
  return (byte >= 0x30 && byte <= 0x39) || (lower >= 0x61 && lower <= 0x66);
}

function isSimpleEscape(byte = 0): boolean {
  return '"\\/bfnrt'.includes(String.fromCharCode(byte));
}

function startsWith(body: Uint8Array, at: number, expected: readonly number[]): boolean {
  return expected.every((byte, index) => body[at + index] === byte);
}

function literalEnd(body: Uint8Array, at: number): number | undefined {
  const literal = LITERALS.find((word) => startsWith(body, at, word));
  return literal && at + literal.length;
}

/** The offset after the number at `from`, or -1: `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`. */
function numberEnd(body: Uint8Array, from: number): number {
  let at = from;
  if (body[at] === 0x2d) at += 1;
  const integer = digitsEnd(body, at);
  if (integer === at || (body[at] === 0x30 && integer > at + 1)) return -1;
  at = integer;
  if (body[at] === 0x2e) {
    const fraction = digitsEnd(body, at + 1);
    if (fraction === at + 1) return -1;
    at = fraction;
  }
  if (((body[at] ?? 0) | 0x20) === 0x65) {
    at += 1;
    if (body[at] === 0x2b || body[at] === 0x2d) at += 1;
    const exponent = digitsEnd(body, at);
    if (exponent === at) return -1;
    at = exponent;
  }
  return at;
}

function digitsEnd(body: Uint8Array, from: number): number {
  let at = from;
  while ((body[at] ?? 0) >= 0x30 && (body[at] ?? 0) <= 0x39) at += 1;
  return at;
}
