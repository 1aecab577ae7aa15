/**
 * Which events are ahead of one that comes now: those that were added, or promoted, and have not had an outcome since.
 * What was delayed, dead or received may be overtaken, also when it is tried again.
 */
export interface Ahead {
  /** Whether an event of this stream is ahead. */
  isAny(stream: string): boolean;
  add(stream: string, id: string): void;
  /** It had an outcome, or was removed. */
  end(stream: string, id: string): void;
  /** The store holds none that waits: what is not in hand here, another relay has taken. */
  keepOnly(inHand: ReadonlySet<string>): void;
}

/** `onNone` is called when a stream has none any more. */
export function makeAhead(onNone: () => void): Ahead {
  const ids = new Map<string, Set<string>>();
  const end = (stream: string, id: string): void => {
    const ofStream = ids.get(stream);
    if (!ofStream?.delete(id) || ofStream.size > 0) return;
    ids.delete(stream);
    onNone();
  };
  return {
    isAny: (stream) => ids.has(stream),
    add(stream, id) {
      const ofStream = ids.get(stream) ?? new Set();
      ids.set(stream, ofStream.add(id));
    },
    end,
    keepOnly(inHand) {
      for (const [stream, ofStream] of ids) for (const id of ofStream) if (!inHand.has(id)) end(stream, id);
    },
  };
}
