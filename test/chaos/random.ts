/** Seeded random numbers: the same seed and purpose give the same numbers, on every machine. */

export interface Random {
  /** At least 0, below 1. */
  fraction(): number;
  /** A whole number, both ends included. */
  int(min: number, max: number): number;
  pick<Item>(items: readonly Item[]): Item;
  /** Picks a key, each as often as its weight says. */
  weighted<Key extends string>(weights: Readonly<Partial<Record<Key, number>>>): Key;
  /** `bytes` bytes, in hexadecimal. */
  hex(bytes: number): string;
}

/** @param purpose so that one kind of choices does not shift another's. */
export function makeRandom(seed: number, purpose: string): Random {
  const fraction = mulberry32(fnv1a(`${seed} ${purpose}`));
  const int = (min: number, max: number) => min + Math.floor(fraction() * (max - min + 1));
  return {
    fraction,
    int,
    pick(items) {
      const picked = items[int(0, items.length - 1)];
      if (picked === undefined) throw new RangeError("items: at least one");
      return picked;
    },
    weighted(weights) {
      const entries = Object.entries<number | undefined>(weights) as [never, number][];
      let left = fraction() * entries.reduce((sum, [, weight]) => sum + weight, 0);
      for (const [key, weight] of entries) {
        left -= weight;
        if (left < 0) return key;
      }
      throw new RangeError("weights: at least one above 0");
    },
    hex: (bytes) => Array.from({ length: bytes }, () => int(0, 255).toString(16).padStart(2, "0")).join(""),
  };
}

/** Tommy Ettinger's generator; public domain. */
function mulberry32(state: number): () => number {
  let a = state;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** FNV-1a, 32 bits. */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (const char of text) hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 0x01000193);
  return hash;
}
