/**
 * How far what we send has come, as well as can be known. The system tells what it took from us, not what the peer took
 * from it: a ping behind 4 MiB in its hands is answered after half a minute by a slow circuit, and by a dead one never.
 */
/* oxlint-disable no-underscore-dangle -- Node's names for what a stream writes with */
import type { Socket } from "node:net";

/** Bytes a second of an onion circuit that is slow, and of use all the same. */
export const SLOW_CIRCUIT = 128 * 1024;
/** Bytes that the system holds of a connection at most: Linux's tcp_wmem. Tor itself holds far less. */
const SYSTEM_BYTES = 4 * 1024 * 1024;
/** Bytes of one write. */
const PIECE_BYTES = 64 * 1024;

interface Chunk {
  readonly chunk: Buffer;
  readonly encoding: BufferEncoding;
}

/**
 * From now on the stream, to which only bytes are written, hands them to the system in pieces: of a write of 25 MiB
 * Node would tell only when all of it is gone.
 * @returns when a circuit of so many bytes a second would have carried what the system took so far, on the clock of
 * `performance.now()`: at most what it holds (4 MiB) after it took the last of it.
 */
export function watchUpload(stream: Socket, bytesPerS: number): () => number {
  let carriedBy = 0;
  const msFor = (bytes: number) => (1000 * bytes) / bytesPerS;
  const write = stream._write.bind(stream);

  const writePiece = (piece: Buffer, encoding: BufferEncoding) =>
    new Promise<void>((resolve, reject) => {
      write(piece, encoding, (error) => (error ? reject(error) : resolve()));
    });

  const writeAll = async (chunks: readonly Chunk[]) => {
    for (const { chunk, encoding } of chunks)
      for (let at = 0; at < chunk.length; at += PIECE_BYTES) {
        const piece = chunk.subarray(at, at + PIECE_BYTES);
        // oxlint-disable-next-line no-await-in-loop
        await writePiece(piece, encoding);
        const now = performance.now();
        carriedBy = Math.min(Math.max(carriedBy, now) + msFor(piece.length), now + msFor(SYSTEM_BYTES));
      }
  };

  const finish = async (chunks: readonly Chunk[], done: (error?: Error) => void) => {
    try {
      await writeAll(chunks);
    } catch (error) {
      done(error instanceof Error ? error : new Error("not written", { cause: error }));
      return;
    }
    done();
  };

  stream._write = (chunk: Buffer, encoding, done) => void finish([{ chunk, encoding }], done);
  stream._writev = (chunks, done) => void finish(joined(chunks), done);
  return () => carriedBy;
}

/** A header and its few bytes as one: they are to go out together, since Tor makes a cell of each write. */
function joined(chunks: readonly Chunk[]): readonly Chunk[] {
  const [first] = chunks;
  const bytes = chunks.reduce((sum, { chunk }) => sum + chunk.length, 0);
  if (first === undefined || bytes > PIECE_BYTES) return chunks;
  return [{ chunk: Buffer.concat(chunks.map(({ chunk }) => chunk)), encoding: first.encoding }];
}
