import type { Clock } from "./clock.ts";
import { RequestRefused } from "./faults.ts";
import { Holdings, type Holding } from "./holdings.ts";
import type { Member } from "./member.ts";
import type { Invoke, Register } from "./messages.ts";

interface Policy {
  /** Who of several callees gets a call. */
  readonly invoke: Invoke;
  /** How many calls it has had: whose turn it is under `roundrobin`. */
  calls: number;
}

export type Registration = Holding & Policy;

/** Every registration of a realm. */
export class Registrations extends Holdings<Policy> {
  constructor(clock: Clock) {
    super(clock, "registrations");
  }

  /** @throws RequestRefused when somebody registered the pattern already and does not share it like this. */
  register(callee: Member, { procedure, match, invoke }: Register): ReturnType<Registrations["add"]> {
    const existing = this.lookup(procedure, match)?.invoke;
    if (existing === "single")
      throw new RequestRefused("wamp.error.procedure_already_exists", "somebody registered it already");
    if (existing !== undefined && existing !== invoke)
      throw new RequestRefused(
        "wamp.error.procedure_exists_with_different_invocation_policy",
        `it is shared already, as ${existing}`,
      );
    return this.add(callee, procedure, match, { invoke, calls: 0 });
  }
}

/** Which of the callees gets the next call; undefined when there are none. */
export function nextCallee(registration: Registration, callees: readonly Member[]): Member | undefined {
  const { invoke } = registration;
  if (invoke === "last") return callees.at(-1);
  if (invoke === "random") return callees[Math.floor(Math.random() * callees.length)];
  if (invoke !== "roundrobin") return callees[0];
  const turn = registration.calls % callees.length;
  registration.calls += 1;
  return callees[turn];
}
