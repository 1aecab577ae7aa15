import { malformed, RequestRefused } from "./faults.ts";
import type { RequestId } from "./fields.ts";
import { ID_END } from "./ids.ts";
import type { Member } from "./member.ts";

/** A call that waits for its callee. */
export interface Invocation {
  /** Counts the callee's invocations, from 1: WAMP Basic Profile, "IDs", of the session scope. */
  readonly id: number;
  readonly caller: Member;
  readonly request: RequestId;
  readonly callee: Member;
  /** Whether results may come before the last. */
  readonly progressive: boolean;
  /** Milliseconds from the call to its first result, and from each to the next; 0: none. */
  readonly timeout: number;
  /** Whether the callee was told to stop, and is waited for. */
  killed: boolean;
  /** Forgets the call's time limit. */
  stopTimer: () => void;
}

/** What one member has open. */
interface Open {
  /** By request id, of any integer type. */
  readonly calls: Map<number, Invocation>;
  readonly invocations: Map<number, Invocation>;
  lastInvocation: number;
}

/** That one caller may have open; each is under 1 KB here. A builder has one. */
const MOST_CALLS = 1_000;

/** Every open call of a realm, found by its caller's request and by its callee's invocation. */
export class Invocations {
  readonly #open = new Map<Member, Open>();

  /**
   * @throws ProtocolFault when the caller has an open call of this request id: no answer could tell them apart.
   * @throws RequestRefused when it has too many.
   */
  checkCall(caller: Member, request: RequestId): void {
    const calls = this.#open.get(caller)?.calls;
    if (calls === undefined) return;
    if (calls.has(Number(request))) throw malformed("a request id of a call that is open");
    if (calls.size >= MOST_CALLS)
      throw new RequestRefused(
        "onionhook.error.too_many_calls",
        `at most ${MOST_CALLS} open calls a session`,
      );
  }

  /** The next id of the callee; not one that is open, should it ever have counted to the end. */
  newId(callee: Member): number {
    const open = this.#of(callee);
    do open.lastInvocation = (open.lastInvocation % (ID_END - 1)) + 1;
    while (open.invocations.has(open.lastInvocation));
    return open.lastInvocation;
  }

  add(invocation: Invocation): void {
    this.#of(invocation.caller).calls.set(Number(invocation.request), invocation);
    this.#of(invocation.callee).invocations.set(invocation.id, invocation);
  }

  ofCall(caller: Member, request: RequestId): Invocation | undefined {
    return this.#open.get(caller)?.calls.get(Number(request));
  }

  ofCallee(callee: Member, id: number): Invocation | undefined {
    return this.#open.get(callee)?.invocations.get(id);
  }

  remove(invocation: Invocation): void {
    invocation.stopTimer();
    this.#open.get(invocation.caller)?.calls.delete(Number(invocation.request));
    this.#open.get(invocation.callee)?.invocations.delete(invocation.id);
  }

  /** Forgets the member and gives what it had open, as caller and as callee. */
  take(member: Member): Invocation[] {
    const open = this.#open.get(member);
    if (open === undefined) return [];
    const taken = [...new Set([...open.calls.values(), ...open.invocations.values()])];
    for (const invocation of taken) this.remove(invocation);
    this.#open.delete(member);
    return taken;
  }

  #of(member: Member): Open {
    let open = this.#open.get(member);
    if (open === undefined) {
      open = { calls: new Map(), invocations: new Map(), lastInvocation: 0 };
      this.#open.set(member, open);
    }
    return open;
  }
}
