/**
 * What waits for slow readers, one by one and all together. A frame that waits for many is one frame in
 * memory, and counts once.
 */

const MIB = 1024 * 1024;

/**
 * Bytes that may wait for one reader. It is looked at before a frame is added, so that one session holds at
 * most this and one frame more; two events of GitHub's 25 MiB on JSON fit.
 */
const MOST_FOR_ONE = 64 * MIB;

/** Bytes that may wait for all readers together: five such events, of which no reader shares one. */
const MOST_FOR_ALL = 192 * MIB;

/** Bytes of new backlog after which all of it is counted: rarely enough to cost nothing. */
const COUNT_EVERY = 64 * MIB;

/** Bytes that Node.js and we need for a waiting frame beside its own: 1.3 KB, measured with 120,000 of 20 bytes. */
const FRAME_OVERHEAD = 1024;

/** Frames, below which it is not looked which of them have left. */
const FEW_FRAMES = 64;

export interface Reader {
  /** How many bytes wait to leave. */
  readonly buffered: () => number;
  /** Disconnects the reader. */
  readonly drop: () => void;
}

/** The backlogs of a router's connections. */
export class Backlogs {
  readonly #waiting = new Set<Backlog>();
  #untilCount = MOST_FOR_ALL;

  /** When this is too much for all, those for whom most waits are dropped. */
  grew(backlog: Backlog, bytes: number): void {
    this.#waiting.add(backlog);
    this.#untilCount -= bytes;
    if (this.#untilCount > 0) return;
    // Before anybody is dropped: others are told of it, and for them that may wait.
    this.#untilCount = COUNT_EVERY;
    const largestFirst = [...this.#waiting]
      .map((each) => ({ each, bytes: each.bytes(), frames: [...each.frames()] }))
      .toSorted((a, b) => b.bytes - a.bytes);
    const tally = new Tally();
    for (const { frames } of largestFirst) tally.add(frames);
    for (const { each, frames } of largestFirst) {
      if (tally.bytes <= MOST_FOR_ALL) return;
      tally.remove(frames);
      each.drop();
    }
  }

  forget(backlog: Backlog): void {
    this.#waiting.delete(backlog);
  }
}

/** What frames take in memory, each of them once, for however many it waits. */
class Tally {
  bytes = 0;
  readonly #readers = new Map<Uint8Array, number>();

  add(frames: readonly Uint8Array[]): void {
    for (const frame of frames) {
      const readers = this.#readers.get(frame) ?? 0;
      this.bytes += FRAME_OVERHEAD + (readers === 0 ? frame.byteLength : 0);
      this.#readers.set(frame, readers + 1);
    }
  }

  remove(frames: readonly Uint8Array[]): void {
    for (const frame of frames) {
      const readers = this.#readers.get(frame) ?? 0;
      this.bytes -= FRAME_OVERHEAD + (readers === 1 ? frame.byteLength : 0);
      this.#readers.set(frame, readers - 1);
    }
  }
}

/** What waits for one reader. */
export class Backlog {
  readonly #all: Backlogs;
  readonly #reader: Reader;
  /** Those that wait, the newest last; at the front some that have left already. */
  #frames: Uint8Array[] = [];
  #trimAt = FEW_FRAMES;

  constructor(all: Backlogs, reader: Reader) {
    this.#all = all;
    this.#reader = reader;
  }

  /** Whether another frame may be sent. */
  hasRoom(): boolean {
    const most = MOST_FOR_ONE - this.#frames.length * FRAME_OVERHEAD;
    return this.#reader.buffered() <= most || this.bytes() <= MOST_FOR_ONE;
  }

  /** A frame was sent; perhaps it waits. */
  add(frame: Uint8Array): void {
    if (this.#reader.buffered() === 0) return this.clear();
    this.#frames.push(frame);
    if (this.#frames.length > this.#trimAt) this.#trimAt = FEW_FRAMES + 2 * this.frames().length;
    this.#all.grew(this, frame.byteLength + FRAME_OVERHEAD);
  }

  /** Nothing waits any more. */
  clear(): void {
    this.#frames = [];
    this.#trimAt = FEW_FRAMES;
    this.#all.forget(this);
  }

  drop(): void {
    this.#reader.drop();
    this.clear();
  }

  bytes(): number {
    const frames = this.frames();
    return this.#reader.buffered() + frames.length * FRAME_OVERHEAD;
  }

  /** Those that wait: as many of the last ones as there are bytes waiting. */
  frames(): readonly Uint8Array[] {
    let waiting = this.#reader.buffered();
    let first = this.#frames.length;
    while (waiting > 0 && first > 0) {
      first -= 1;
      waiting -= this.#frames[first]?.byteLength ?? 0;
    }
    if (first > 0) this.#frames.splice(0, first);
    return this.#frames;
  }
}
