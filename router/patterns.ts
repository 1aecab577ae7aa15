/**
 * Things under patterns of URIs, found again by the URIs that the patterns stand for. A lookup costs one
 * step for each length of prefix and each shape of wildcard in use, however many patterns there are.
 */
import type { Match } from "../shared/wamp/match.ts";

interface Pattern {
  readonly uri: string;
  readonly match: Match;
}

/** Which components of a wildcard pattern are empty: `a..c` and `x..z` have one shape. */
interface Shape {
  readonly components: number;
  readonly blanks: readonly number[];
  patterns: number;
}

export class Patterns<Entry extends Pattern> {
  readonly #entries: Readonly<Record<Match, Map<string, Entry>>> = {
    exact: new Map(),
    prefix: new Map(),
    wildcard: new Map(),
  };
  /** How many prefixes there are of a length; the lengths, longest first. */
  readonly #prefixes = new Map<number, number>();
  #lengths: readonly number[] = [];
  readonly #shapes = new Map<string, Shape>();
  #ordered: readonly Shape[] = [];

  get(uri: string, match: Match): Entry | undefined {
    return this.#entries[match].get(uri);
  }

  list(match: Match): Entry[] {
    return [...this.#entries[match].values()];
  }

  add(entry: Entry): void {
    this.#entries[entry.match].set(entry.uri, entry);
    if (entry.match === "prefix") this.#countPrefix(entry.uri.length, 1);
    if (entry.match === "wildcard") this.#countShape(entry.uri, 1);
  }

  delete(entry: Entry): void {
    this.#entries[entry.match].delete(entry.uri);
    if (entry.match === "prefix") this.#countPrefix(entry.uri.length, -1);
    if (entry.match === "wildcard") this.#countShape(entry.uri, -1);
  }

  /**
   * All that stand for `uri`, the best first: exact, then prefixes, the longest first, then wildcards, the
   * one whose first wildcard is furthest behind first, then the second, and so on.
   * Source of the order: WAMP Advanced Profile, "Calls matching multiple registrations".
   */
  matching(uri: string): Entry[] {
    const found: Entry[] = [];
    const exact = this.#entries.exact.get(uri);
    if (exact !== undefined) found.push(exact);
    for (const length of this.#lengths) {
      const entry = length > uri.length ? undefined : this.#entries.prefix.get(uri.slice(0, length));
      if (entry !== undefined) found.push(entry);
    }
    if (this.#ordered.length === 0) return found;
    const components = uri.split(".");
    // No topic has an empty component; only the meta API may be asked for one.
    if (components.includes("")) return found;
    for (const shape of this.#ordered) {
      if (shape.components !== components.length) continue;
      const blanked = [...components];
      for (const blank of shape.blanks) blanked[blank] = "";
      const entry = this.#entries.wildcard.get(blanked.join("."));
      if (entry !== undefined) found.push(entry);
    }
    return found;
  }

  #countPrefix(length: number, change: number): void {
    const prefixes = (this.#prefixes.get(length) ?? 0) + change;
    if (prefixes === 0) this.#prefixes.delete(length);
    else this.#prefixes.set(length, prefixes);
    if (prefixes > 1) return;
    this.#lengths = [...this.#prefixes.keys()].toSorted((a, b) => b - a);
  }

  #countShape(uri: string, change: number): void {
    const components = uri.split(".");
    const blanks = components.flatMap((component, index) => (component === "" ? [index] : []));
    const key = `${components.length}:${blanks.join()}`;
    const shape = this.#shapes.get(key) ?? { components: components.length, blanks, patterns: 0 };
    shape.patterns += change;
    if (shape.patterns === 0) {
      this.#shapes.delete(key);
      this.#ordered = this.#ordered.filter((each) => each !== shape);
    } else if (!this.#shapes.has(key)) {
      this.#shapes.set(key, shape);
      // Put into its place: to sort thousands anew for each would take longer the more there are.
      const next = this.#ordered.findIndex((each) => moreLiteral(shape, each) < 0);
      this.#ordered = this.#ordered.toSpliced(next === -1 ? this.#ordered.length : next, 0, shape);
    }
  }
}

function moreLiteral(a: Shape, b: Shape): number {
  const differs = a.blanks.findIndex((blank, index) => blank !== b.blanks[index]);
  if (differs === -1) return a.blanks.length - b.blanks.length;
  return (b.blanks[differs] ?? Infinity) - (a.blanks[differs] ?? Infinity);
}
