/**
 * What a frame may hold, looked at before anything is made of it, in time and memory that its length bounds: null,
 * booleans, numbers of at most 64 bits, text, bytes, lists, and dictionaries with text as keys. The decoders know much
 * more: shared references and packed values, from which a few bytes become gigabytes when they are written again,
 * integers without end, which they read in quadratic time, dates, errors, sets, records. Most of that is switched on for
 * the whole process (BullMQ uses msgpackr too), so it is kept from them here.
 *
 * What passes, every serializer can write, but for text that JSON has for bytes (serializers.ts). Only what matters for that is judged; the rest is for the decoders.
 * Sources: https://github.com/msgpack/msgpack/blob/master/spec.md, RFC 8949, RFC 8259, WAMP Basic Profile "Serializations".
 */
import { OnionhookError } from "../errors.ts";

/** Lists and dictionaries within each other, the message one of them. Autobahn|Python reads 400 on CBOR, and more elsewhere. */
export const MAX_DEPTH = 128;

/** Of a message: ERROR is the longest. */
const MAX_ELEMENTS = 7;

/**
 * In each element. An empty list is one byte on the wire, and some 60 in memory: all of them together are 100 MB, not
 * much more than the largest message. Counted by element, because a router passes arguments on beside details of its
 * own: what it takes, so does the receiver.
 */
export const MAX_VALUES = 250_000;

/** @throws OnionhookError `ERR_WAMP_MESSAGE` */
export function checkMsgpack(frame: Uint8Array): void {
  const reader = new Reader(frame);
  msgpackValue(reader, 0);
  reader.finish();
}

/** @throws OnionhookError `ERR_WAMP_MESSAGE` */
export function checkCbor(frame: Uint8Array): void {
  const reader = new Reader(frame);
  cborValue(reader, 0);
  reader.finish();
}

/** @throws OnionhookError `ERR_WAMP_MESSAGE` */
export function checkJson(frame: Uint8Array): void {
  const counter = new Counter();
  let depth = 0;
  let empty = false;
  counter.count(depth);
  for (let at = 0; at < frame.length; at++) {
    const byte = frame[at] ?? 0;
    if (byte <= SPACE) continue;
    const closes = byte === 0x5d || byte === 0x7d; // ] }
    // The first value within, now that there is one; every other has a comma before it.
    if (empty && !closes) counter.count(depth);
    empty = byte === 0x5b || byte === 0x7b; // [ {
    if (empty) depth++;
    else if (closes) depth--;
    else if (byte === COMMA) counter.count(depth);
    else if (byte === QUOTE) at = closingQuote(frame, at + 1);
    if (depth > MAX_DEPTH) throw tooDeep();
  }
}

const SPACE = 0x20;
const COMMA = 0x2c;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Where the text that begins here ends, or the frame. Natively where the first quote is it: a sealed payload is one long text. */
function closingQuote(frame: Uint8Array, start: number): number {
  const quote = frame.indexOf(QUOTE, start);
  if (quote >= 0 && frame[quote - 1] !== BACKSLASH) return quote;
  for (let at = start; at < frame.length; at++) {
    const byte = frame[at];
    if (byte === QUOTE) return at;
    if (byte === BACKSLASH) at++;
  }
  return frame.length;
}

/** Counts values; `depth` is in how many lists and dictionaries one is. */
class Counter {
  #elements = 0;
  #values = 0;

  count(depth: number): void {
    if (depth === 1) {
      if (++this.#elements > MAX_ELEMENTS) throw fault("too many elements");
      this.#values = 0;
    } else if (++this.#values > MAX_VALUES) throw fault(`more than ${MAX_VALUES} values`);
  }
}

class Reader extends Counter {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    super();
    this.#bytes = bytes;
  }

  /** The first byte of a value. */
  begin(depth: number): number {
    this.count(depth);
    return this.byte();
  }

  /** The next byte, still to be read. */
  get next(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw truncated();
    return byte;
  }

  byte(): number {
    const byte = this.next;
    this.#at++;
    return byte;
  }

  /** An unsigned integer of so many bytes; beyond 2^53 about right. */
  uint(size: number): number {
    let value = 0;
    for (let rest = size; rest > 0; rest--) value = value * 256 + this.byte();
    return value;
  }

  skip(length: number): void {
    if (length > this.#bytes.length - this.#at) throw truncated();
    this.#at += length;
  }

  finish(): void {
    if (this.#at < this.#bytes.length) throw fault("something follows the message");
  }
}

function msgpackValue(reader: Reader, depth: number): void {
  const head = reader.begin(depth);
  if (head < 0x80 || head >= 0xe0) return; // small integers
  if (head < 0x90) return msgpackDict(reader, head & 0x0f, depth);
  if (head < 0xa0) return msgpackList(reader, head & 0x0f, depth);
  if (head < 0xc0) return reader.skip(head & 0x1f);
  switch (head) {
    case 0xc0: // nil
    case 0xc2: // false
    case 0xc3: // true
      return;
    case 0xc4: // bin
    case 0xc5:
    case 0xc6:
      return reader.skip(reader.uint(1 << (head - 0xc4)));
    case 0xca: // float
    case 0xcb:
      return reader.skip(4 << (head - 0xca));
    case 0xcc: // uint
    case 0xcd:
    case 0xce:
    case 0xcf:
      return reader.skip(1 << (head - 0xcc));
    case 0xd0: // int
    case 0xd1:
    case 0xd2:
    case 0xd3:
      return reader.skip(1 << (head - 0xd0));
    case 0xd4: // msgpackr writes undefined so, e.g. where a procedure answers nothing
      if (reader.uint(2) !== 0) throw notOfWamp("an extension");
      return;
    case 0xd9: // str
    case 0xda:
    case 0xdb:
      return reader.skip(reader.uint(1 << (head - 0xd9)));
    case 0xdc:
    case 0xdd:
      return msgpackList(reader, reader.uint(2 << (head - 0xdc)), depth);
    case 0xde:
    case 0xdf:
      return msgpackDict(reader, reader.uint(2 << (head - 0xde)), depth);
    default:
      throw notOfWamp("an extension");
  }
}

function msgpackList(reader: Reader, length: number, depth: number): void {
  if (depth >= MAX_DEPTH) throw tooDeep();
  for (let rest = length; rest > 0; rest--) msgpackValue(reader, depth + 1);
}

function msgpackDict(reader: Reader, length: number, depth: number): void {
  if (depth >= MAX_DEPTH) throw tooDeep();
  for (let rest = length; rest > 0; rest--) {
    const head = reader.next;
    if ((head < 0xa0 || head >= 0xc0) && (head < 0xd9 || head > 0xdb)) throw keyNotText();
    msgpackValue(reader, depth + 1);
    msgpackValue(reader, depth + 1);
  }
}

/** RFC 8949 §3.1 */
const [BYTES, TEXT, LIST, DICT, TAG, SIMPLE] = [2, 3, 4, 5, 6, 7];
const INDEFINITE = 31;
const BREAK = 0xff;
/** RFC 8746: bytes are bytes; autobahn-js' library has it before those that are no Buffer. */
const UINT8_ARRAY = 64;

function cborValue(reader: Reader, depth: number): void {
  const head = reader.begin(depth);
  const [major, info] = [head >> 5, head & 0x1f];
  if ((major === LIST || major === DICT) && depth >= MAX_DEPTH) throw tooDeep();
  if (info === INDEFINITE) {
    if (major !== LIST && major !== DICT) throw notOfWamp("a string in chunks");
    while (reader.next !== BREAK) cborItem(reader, major, depth);
    reader.byte();
    return;
  }
  // -2^64 has no form in msgpack. Its argument would be rounded.
  if (head === 0x3b && reader.next > 0x7f) throw notOfWamp("an integer of more than 64 bits");
  const argument = cborArgument(reader, info);
  switch (major) {
    case BYTES:
    case TEXT:
      return reader.skip(argument);
    case LIST:
    case DICT:
      for (let rest = argument; rest > 0; rest--) cborItem(reader, major, depth);
      return;
    case TAG:
      if (argument !== UINT8_ARRAY || reader.next >> 5 !== BYTES) throw notOfWamp("a tag");
      return reader.skip(cborArgument(reader, reader.byte() & 0x1f));
    case SIMPLE:
      // false, true, null, undefined; floats of 2, 4 and 8 bytes
      if (info < 20 || info === 24) throw notOfWamp("an unassigned value");
  }
}

function cborArgument(reader: Reader, info: number): number {
  if (info > 27) throw fault("a reserved length");
  return info < 24 ? info : reader.uint(1 << (info - 24));
}

function cborItem(reader: Reader, major: number, depth: number): void {
  if (major === DICT) {
    if (reader.next >> 5 !== TEXT) throw keyNotText();
    cborValue(reader, depth + 1);
  }
  cborValue(reader, depth + 1);
}

function keyNotText(): OnionhookError {
  return notOfWamp("a key that is no text");
}

function notOfWamp(what: string): OnionhookError {
  return fault(`${what}, which WAMP does not have`);
}

function tooDeep(): OnionhookError {
  return fault(`over ${MAX_DEPTH} lists and dictionaries within each other`);
}

function truncated(): OnionhookError {
  return fault("it ends too early");
}

function fault(what: string): OnionhookError {
  return new OnionhookError("ERR_WAMP_MESSAGE", `a WAMP frame could not be parsed: ${what}`);
}
