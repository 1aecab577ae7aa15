/**
 * A folder in one compressed file:
 *
 * ```
 * zstd( length of the list: u32, big-endian | list: JSON | contents, one after the other )
 * list: [path, size, kept]…    size −1: a folder; kept: bytes in the file, all after which are zeros
 * ```
 */
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  statSync,
  writeSync,
} from "node:fs";
import { basename, join } from "node:path";
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import * as v from "valibot";

const list = v.array(v.tuple([v.string(), v.number(), v.number()]));

/** The strongest of zstd's ordinary levels. */
const LEVEL = 19;
/** Base-2 logarithm of bytes, 64 MiB: a database holds the same tables three times, and each copy is to be found. */
const WINDOW = 26;

/** Takes seconds. Files of one name are put side by side, since they are alike. */
export function packFolder(folder: string): Buffer {
  const paths = readdirSync(folder, { recursive: true, encoding: "utf8" });
  const entries: v.InferOutput<typeof list> = [];
  const contents: Buffer[] = [];
  for (const path of paths.toSorted(
    (a, b) => compare(depth(a), depth(b)) || compare(basename(a), basename(b)),
  )) {
    if (statSync(join(folder, path)).isDirectory()) {
      entries.push([path, -1, 0]);
      continue;
    }
    const content = readFileSync(join(folder, path));
    const kept = content.subarray(0, content.findLastIndex((byte) => byte !== 0) + 1);
    entries.push([path, content.length, kept.length]);
    contents.push(kept);
  }
  const head = Buffer.from(JSON.stringify(entries));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(head.length);
  const params = {
    [constants.ZSTD_c_compressionLevel]: LEVEL,
    [constants.ZSTD_c_windowLog]: WINDOW,
    [constants.ZSTD_c_enableLongDistanceMatching]: 1,
  };
  return zstdCompressSync(Buffer.concat([length, head, ...contents]), { params });
}

/** Writes what was packed into an empty folder, for its owner only. What is cut off as zeros takes no room. */
export function unpackFolder(packed: Uint8Array, folder: string): void {
  const whole = zstdDecompressSync(packed);
  let at = 4 + whole.readUInt32BE();
  for (const [path, size, kept] of v.parse(list, JSON.parse(whole.toString("utf8", 4, at)))) {
    if (size < 0) mkdirSync(join(folder, path), { recursive: true, mode: 0o700 });
    else writeSparse(join(folder, path), whole.subarray(at, at + kept), size);
    at += kept;
  }
}

function writeSparse(path: string, content: Uint8Array, size: number): void {
  const file = openSync(path, "wx", 0o600);
  try {
    if (content.length > 0) writeSync(file, content);
    ftruncateSync(file, size);
  } finally {
    closeSync(file);
  }
}

function depth(path: string): number {
  return path.split("/").length;
}

function compare<T extends string | number>(a: T, b: T): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
