/**
 * Which events of a stream are missing, told from their numbers: gapless from 1 at the edge. Pure; the journal keeps
 * a `Numbering` in the same transaction as the event that changed it.
 *
 * | the number of an event that was not here before | what follows                                        |
 * |-------------------------------------------------|-----------------------------------------------------|
 * | the first of its stream                         | nothing before it is missing                        |
 * | `newest` + 1                                    | it is the newest                                    |
 * | above that                                      | it is the newest, and those between are missing     |
 * | missing                                         | it is missing no more, also if it was given up      |
 * | below `first`, and not received after `newest`  | nothing: an old event that was sent late or again   |
 * | any other                                       | the edge's store began anew: the first of its stream |
 *
 * Accepted: the first events of a store that began anew may be taken for missing ones of the old.
 */

/** Numbers of a stream; both ends are included. */
export interface Range {
  readonly from: number;
  readonly to: number;
}

export interface Gap extends Range {
  /** The alarm was raised. An event that comes later is taken all the same. */
  readonly givenUp: boolean;
}

/** What is known of a stream's numbers. */
export interface Numbering {
  /** How often the edge's store began anew. */
  readonly generation: number;
  /** What is below is not watched. */
  readonly first: number;
  readonly newest: number;
  /** When the edge received the newest; ms since 1970. */
  readonly newestAt: number;
  /** In order, and never touching `first` or `newest`. */
  readonly missing: readonly Gap[];
}

/**
 * Gaps of one stream. More, which only a relay that withholds every other event makes, and the lowest are no longer
 * watched.
 */
export const MAX_GAPS = 1000;
/** Milliseconds. The edge numbers an event when its body is read, which takes at most a minute. */
const NUMBERED_MS = 60_000;

/** An event came that was not here before. `receivedAt`: at the edge, ms since 1970. */
export function arrive(before: Numbering | undefined, seq: number, receivedAt: number): Numbering {
  if (before === undefined) return beginAt(seq, receivedAt, 0);
  const { generation, first, newest, newestAt, missing } = before;
  if (seq > newest) {
    const skipped = { from: newest + 1, to: seq - 1, givenUp: false };
    return limited({
      ...before,
      newest: seq,
      newestAt: receivedAt,
      missing: skipped.from > skipped.to ? missing : [...missing, skipped],
    });
  }
  const hit = missing.find(({ from, to }) => from <= seq && seq <= to);
  if (hit) {
    const rest = missing.flatMap((gap) => (gap === hit ? without(gap, { from: seq, to: seq }) : [gap]));
    return limited({ ...before, missing: rest });
  }
  if (seq < first && receivedAt <= newestAt + NUMBERED_MS) return before;
  return beginAt(seq, receivedAt, generation + 1);
}

/** The alarm was raised for what is missing in `range`. */
export function giveUp(before: Numbering, range: Range): Numbering {
  const missing: Gap[] = [];
  for (const gap of before.missing) {
    for (const piece of gap.givenUp ? [gap] : split(gap, range)) {
      const last = missing.at(-1);
      if (last?.givenUp && piece.givenUp && last.to + 1 === piece.from)
        missing.splice(-1, 1, { ...last, to: piece.to });
      else missing.push(piece);
    }
  }
  return { ...before, missing };
}

function beginAt(seq: number, receivedAt: number, generation: number): Numbering {
  return { generation, first: seq, newest: seq, newestAt: receivedAt, missing: [] };
}

function limited(numbering: Numbering): Numbering {
  const dropped = numbering.missing.at(-1 - MAX_GAPS);
  if (!dropped) return numbering;
  return { ...numbering, first: dropped.to + 1, missing: numbering.missing.slice(-MAX_GAPS) };
}

function split(gap: Gap, range: Range): Gap[] {
  const from = Math.max(gap.from, range.from);
  const to = Math.min(gap.to, range.to);
  if (from > to) return [gap];
  return [...without(gap, { from, to }), { from, to, givenUp: true }].toSorted((a, b) => a.from - b.from);
}

function without(gap: Gap, { from, to }: Range): Gap[] {
  const pieces = [
    { ...gap, to: from - 1 },
    { ...gap, from: to + 1 },
  ];
  return pieces.filter((piece) => piece.from <= piece.to);
}
