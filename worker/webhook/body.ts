/** The bytes of a request's body: bounded in size, in time, and in what an isolate holds at once. */
import { MAX_BODY_BYTES } from "../../shared/webhook-body.ts";
import { Refusal } from "../refusal.ts";

/** Read at a time: first as much as most payloads have (GitHub's examples: 0.9 to 27 KB), then more. */
const FIRST_PIECE_BYTES = 64 * 1024;
const PIECE_BYTES = 1024 * 1024;
/** GitHub itself gives up after 10 s. */
const BODY_MS = 20_000;
/** Of the 128 MB of an isolate: one body of any size, and a few that are not the largest. */
const MAX_HELD_BYTES = 40 * 1024 * 1024;

/** Bytes of bodies in all requests of this isolate. */
let held = 0;

/**
 * Reads the body and hands it to `use`; until that is over, its bytes count as held.
 * @throws Refusal `ERR_BODY_TOO_LARGE`, `ERR_BODY_SLOW`, and `ERR_BUSY` when the isolate holds too much already.
 */
export async function withBody<Result>(
  request: Request,
  use: (body: Uint8Array<ArrayBuffer>) => Promise<Result>,
): Promise<Result> {
  let mine = 0;
  const hold = (bytes: number) => {
    if (held + bytes - mine > MAX_HELD_BYTES) throw new Refusal("ERR_BUSY");
    held += bytes - mine;
    mine = bytes;
  };
  try {
    return await use(await readBody(request, hold));
  } finally {
    held -= mine;
  }
}

/**
 * Reads no further than the cap, whatever the sender said the length was. The buffer grows as bytes come, and all of it
 * is held.
 */
async function readBody(request: Request, hold: (bytes: number) => void): Promise<Uint8Array<ArrayBuffer>> {
  const declared = declaredLength(request);
  const reader = request.body?.getReader({ mode: "byob" });
  if (!reader) return new Uint8Array();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    void reader.cancel().catch(() => {});
  }, BODY_MS);
  let body = new Uint8Array();
  let buffer = new ArrayBuffer();
  const readPiece = async (wanted: number) => {
    if (buffer.byteLength < wanted) {
      hold(body.length + wanted);
      buffer = new ArrayBuffer(wanted);
    }
    const read = reader.readAtLeast(wanted, new Uint8Array(buffer, 0, wanted));
    const { value, broken } = await read.then(
      (result) => ({ value: result.value, broken: false }),
      () => ({ value: undefined, broken: true }),
    );
    if (late) throw new Refusal("ERR_BODY_SLOW");
    if (broken) throw new Refusal("ERR_BODY", "the body did not come whole");
    return value;
  };
  try {
    for (let length = 0; ;) {
      const pieceBytes = length === 0 ? FIRST_PIECE_BYTES : PIECE_BYTES;
      // Nothing comes after what was declared: HTTP sees to that.
      const wanted = declared > length ? Math.min(pieceBytes, declared - length) : pieceBytes;
      const piece = await readPiece(wanted);
      const end = length + (piece?.length ?? 0);
      if (end > MAX_BODY_BYTES) throw new Refusal("ERR_BODY_TOO_LARGE");
      const isLast = end === declared || !piece || piece.length < wanted;
      if (length === 0 && isLast) return piece ? exactly(piece) : body;
      if (end > body.length) {
        // Three times what came: a promise of 25 MiB costs its sender a third of that.
        const room = isLast ? end : Math.min(end * 3, declared > end ? declared : MAX_BODY_BYTES);
        hold(room + buffer.byteLength);
        body = grow(body, length, room);
      }
      if (piece) {
        body.set(piece, length);
        ({ buffer } = piece);
      }
      length = end;
      if (isLast) return exactly(body.subarray(0, length));
    }
  } finally {
    clearTimeout(timer);
    reader.releaseLock();
  }
}

/** In a buffer of its own size: what is handed on takes its whole buffer along. */
function exactly(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return bytes.length === bytes.buffer.byteLength ? bytes : bytes.slice();
}

function grow(body: Uint8Array, length: number, room: number): Uint8Array<ArrayBuffer> {
  const grown = new Uint8Array(room);
  grown.set(body.subarray(0, length));
  return grown;
}

/** @throws Refusal `ERR_BODY_TOO_LARGE` when that is already known from the headers. */
export function checkDeclaredLength(request: Request): void {
  if (declaredLength(request) > MAX_BODY_BYTES) throw new Refusal("ERR_BODY_TOO_LARGE");
}

/** 0 when no length was declared, as for a chunked body, or none that is a number of bytes. */
function declaredLength(request: Request): number {
  const text = request.headers.get("content-length") ?? "";
  return /^\d+$/.test(text) ? Number(text) : 0;
}

/** More than GitHub ever sends; a sender of more is not waited for. */
const MAX_DISCARDED_BYTES = 32 * 1024 * 1024;
/** For what is on its way already; a sender that stalls gets its answer then. */
const DISCARD_MS = 2000;

/**
 * Reads what is left of a refused request and forgets it: a sender that is cut off while it writes may
 * never see the answer.
 */
export async function discardBody(request: Request): Promise<void> {
  const reader = request.body?.getReader({ mode: "byob" });
  if (!reader) return;
  // What is cancelled reads as ended.
  const timer = setTimeout(() => void reader.cancel().catch(() => {}), DISCARD_MS);
  try {
    let piece = new Uint8Array(FIRST_PIECE_BYTES);
    for (let discarded = 0; discarded <= MAX_DISCARDED_BYTES; discarded += piece.length) {
      const { done, value } = await reader.readAtLeast(piece.length, piece);
      if (done || value.length < piece.length) return;
      piece = value;
    }
  } catch {
    // The sender is gone, and with it whoever would read the answer.
  } finally {
    clearTimeout(timer);
    reader.releaseLock();
  }
}
