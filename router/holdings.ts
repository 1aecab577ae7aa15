/** What members hold in common: all who subscribe to a pattern, or register it, share one holding. */
import type { Match } from "../shared/wamp/match.ts";
import type { Clock } from "./clock.ts";
import { RequestRefused } from "./faults.ts";
import { newId } from "./ids.ts";
import type { Member } from "./member.ts";
import { Patterns } from "./patterns.ts";

/** A pattern under one match policy, and those who hold it. Lives while somebody does. */
export interface Holding {
  readonly id: number;
  readonly uri: string;
  readonly match: Match;
  /** ISO 8601, UTC. */
  readonly created: string;
  /** In the order in which they came. */
  readonly members: Set<Member>;
}

/** Of one kind that one member may hold. Ours hold four; it bounds what one key can make the router keep. */
const MOST_HELD = 1_000;

/** Characters. Ours have 40; without a bound each of them could have 64 MiB. */
const LONGEST_URI = 1_024;

/** Every subscription, or every registration, of a realm, found by id, by pattern, by URI and by member. */
export class Holdings<Extra extends object = object> {
  readonly #clock: Clock;
  readonly #kind: "subscriptions" | "registrations";
  readonly #byId = new Map<number, Holding & Extra>();
  readonly #patterns = new Patterns<Holding & Extra>();
  readonly #byMember = new Map<Member, Set<Holding & Extra>>();

  constructor(clock: Clock, kind: "subscriptions" | "registrations") {
    this.#clock = clock;
    this.#kind = kind;
  }

  get(id: number): (Holding & Extra) | undefined {
    return this.#byId.get(id);
  }

  lookup(uri: string, match: Match): (Holding & Extra) | undefined {
    return this.#patterns.get(uri, match);
  }

  list(match: Match): (Holding & Extra)[] {
    return this.#patterns.list(match);
  }

  of(member: Member): (Holding & Extra)[] {
    return [...(this.#byMember.get(member) ?? [])];
  }

  /** Those whose pattern stands for `uri`, the best first. */
  matching(uri: string): (Holding & Extra)[] {
    return this.#patterns.matching(uri);
  }

  /**
   * Adding twice is the same as once; `created` and `added` tell what was new.
   * @throws RequestRefused when the member holds too many, or the pattern is too long to be kept.
   */
  add(
    member: Member,
    uri: string,
    match: Match,
    extra: Extra,
  ): { holding: Holding & Extra; created: boolean; added: boolean } {
    const own = this.#byMember.get(member) ?? new Set();
    const known = this.lookup(uri, match);
    if (known !== undefined && own.has(known)) return { holding: known, created: false, added: false };
    this.#checkLimits(own.size, uri);
    const holding = known ?? this.#create(uri, match, extra);
    holding.members.add(member);
    this.#byMember.set(member, own.add(holding));
    return { holding, created: known === undefined, added: true };
  }

  /** Whether the holding ended with it, or undefined when the member did not have it. */
  remove(member: Member, holding: Holding & Extra): { deleted: boolean } | undefined {
    if (!holding.members.delete(member)) return undefined;
    const own = this.#byMember.get(member);
    own?.delete(holding);
    if (own?.size === 0) this.#byMember.delete(member);
    if (holding.members.size > 0) return { deleted: false };
    this.#byId.delete(holding.id);
    this.#patterns.delete(holding);
    return { deleted: true };
  }

  #create(uri: string, match: Match, extra: Extra): Holding & Extra {
    const created = new Date(this.#clock.now()).toISOString();
    const holding = { id: newId(this.#byId), uri, match, created, members: new Set<Member>(), ...extra };
    this.#byId.set(holding.id, holding);
    this.#patterns.add(holding);
    return holding;
  }

  #checkLimits(held: number, uri: string): void {
    if (held >= MOST_HELD)
      throw new RequestRefused(`onionhook.error.too_many_${this.#kind}`, `at most ${MOST_HELD} a session`);
    if (uri.length > LONGEST_URI)
      throw new RequestRefused("wamp.error.invalid_uri", `longer than ${LONGEST_URI} characters`);
  }
}
