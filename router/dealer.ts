import { CALL, ERROR, INTERRUPT, INVOCATION, REGISTERED, RESULT, UNREGISTERED } from "./codes.ts";
import type { Clock } from "./clock.ts";
import { RequestRefused } from "./faults.ts";
import type { RequestId } from "./fields.ts";
import { Invocations, type Invocation } from "./invocations.ts";
import { disclosure, tell, toFrame, withPayload, type Member } from "./member.ts";
import type { Call, Cancel, InvocationError, Register, Yield } from "./messages.ts";
import { allowing, type Permission } from "./permissions.ts";
import type { Procedure } from "./procedure.ts";
import { nextCallee, type Registration, type Registrations } from "./registrations.ts";
import { isReserved } from "./uri.ts";

/** What the dealer announces of registrations, as topics below `wamp.registration.`. */
type Announcement = "on_create" | "on_register" | "on_unregister" | "on_delete";

export interface DealerParts {
  /** Procedures that the router answers itself. */
  readonly builtIn: ReadonlyMap<string, Procedure>;
  readonly registrations: Registrations;
  readonly permissionsOf: (member: Member) => readonly Permission[];
  /** Publishes as the router. */
  readonly announce: (topic: string, args: readonly unknown[]) => void;
  readonly clock: Clock;
}

/** Milliseconds: the longest that Node.js' timers know. Who wants more time gets these 24 days. */
const LONGEST_TIMEOUT = 2 ** 31 - 1;

/**
 * Calls within one realm. Refusals are thrown as {@link RequestRefused}. A call ends by its callee's last
 * answer, when it is cancelled or its time is over, or when either side leaves.
 */
export class Dealer {
  readonly #parts: DealerParts;
  readonly #invocations = new Invocations();

  constructor(parts: DealerParts) {
    this.#parts = parts;
  }

  register(callee: Member, message: Register): void {
    const { request, procedure, isStrange } = message;
    const { permissionsOf, registrations, announce } = this.#parts;
    if (isReserved(procedure))
      throw new RequestRefused("wamp.error.invalid_uri", "this procedure is the router's own");
    if (allowing(permissionsOf(callee), "register", procedure) === undefined)
      throw new RequestRefused("wamp.error.not_authorized", "not authorized to register");
    if (isStrange)
      throw new RequestRefused("wamp.error.option_not_allowed", "no concurrency, no force_reregister");
    const { holding, created, added } = registrations.register(callee, message);
    tell(callee, [REGISTERED, request, holding.id]);
    const { session } = callee.identity;
    if (created) announce("wamp.registration.on_create", [session, describeRegistration(holding)]);
    if (added) this.#announce("on_register", callee, holding);
  }

  unregister(callee: Member, request: RequestId, id: number): void {
    const registration = this.#parts.registrations.get(id);
    if (registration === undefined || !registration.members.has(callee))
      throw new RequestRefused("wamp.error.no_such_registration", "no such registration");
    tell(callee, [UNREGISTERED, request]);
    this.#remove(callee, registration);
  }

  call(caller: Member, message: Call): void {
    const { request, procedure, payload, receiveProgress, timeout } = message;
    const { permissionsOf, builtIn } = this.#parts;
    this.#invocations.checkCall(caller, request);
    const permission = allowing(permissionsOf(caller), "call", procedure);
    if (permission === undefined)
      throw new RequestRefused("wamp.error.not_authorized", "not authorized to call");
    const answer = builtIn.get(procedure);
    if (answer !== undefined) {
      tell(caller, [RESULT, request, {}, answer({ caller, payload })]);
      return;
    }
    const [registration, callee] = this.#route(procedure);
    const progressive = receiveProgress && callee.features.progressiveCallResults;
    const details = {
      ...(permission.disclose.caller && disclosure("caller", caller)),
      ...(registration.match !== "exact" && { procedure }),
      ...(progressive && { receive_progress: true }),
    };
    const id = this.#invocations.newId(callee);
    const frame = frameOr(callee, withPayload([INVOCATION, id, registration.id], details, payload));
    const call = { id, caller, request, callee, progressive, timeout };
    const invocation: Invocation = { ...call, killed: false, stopTimer: () => {} };
    // Before it is sent: a callee that is too slow leaves while we send, and the caller is to hear of it.
    this.#invocations.add(invocation);
    this.#startTimer(invocation);
    callee.send(frame);
  }

  /** The caller gives up. What is not open, or not the caller's, is over for it anyway. */
  cancel(caller: Member, { request, mode }: Cancel): void {
    const invocation = this.#invocations.ofCall(caller, request);
    if (invocation === undefined) return;
    if (mode === "kill" && invocation.callee.features.callCanceling) {
      // Whatever the callee answers is the call's end; it may have finished at this very moment.
      if (!invocation.killed) interrupt(invocation, "kill");
      invocation.killed = true;
      return;
    }
    this.#end(invocation, "wamp.error.canceled", "canceled by the caller", mode !== "skip");
  }

  /**
   * An answer to a call that is over already, or is not this callee's, is dropped; so is progress for which
   * the caller did not ask, since it would take it for the result.
   */
  yield(callee: Member, { invocation: id, progress, payload }: Yield): void {
    const invocation = this.#invocations.ofCallee(callee, id);
    if (invocation === undefined || (progress && !invocation.progressive)) return;
    const details = progress ? { progress: true } : {};
    this.#answer(invocation, !progress, withPayload([RESULT, invocation.request], details, payload));
  }

  invocationError(callee: Member, { invocation: id, uri, payload }: InvocationError): void {
    const invocation = this.#invocations.ofCallee(callee, id);
    if (invocation === undefined) return;
    this.#answer(invocation, true, withPayload([ERROR, CALL, invocation.request], {}, payload, [uri]));
  }

  /** Ends the registrations of a member that has left, and its calls; those on the other side are told. */
  leave(member: Member): void {
    for (const registration of this.#parts.registrations.of(member)) this.#remove(member, registration);
    for (const invocation of this.#invocations.take(member)) {
      if (invocation.caller !== member) tellEnd(invocation, "wamp.error.canceled", "the callee has left");
      else if (invocation.callee !== member && invocation.callee.features.callCanceling)
        interrupt(invocation, "killnowait");
    }
  }

  /**
   * The best registration that has a callee for this procedure. A permission to register is asked with the
   * pattern's text (as on Crossbar.io), which may stand for more than the role may serve: such calls do not
   * reach it, which on Crossbar.io they do. The router's own procedures are nobody else's.
   */
  #route(procedure: string): readonly [Registration, Member] {
    const { registrations, permissionsOf } = this.#parts;
    for (const registration of isReserved(procedure) ? [] : registrations.matching(procedure)) {
      const callees = [...registration.members].filter(
        (member) =>
          registration.match === "exact" ||
          allowing(permissionsOf(member), "register", procedure) !== undefined,
      );
      const callee = nextCallee(registration, callees);
      if (callee !== undefined) return [registration, callee];
    }
    throw new RequestRefused("wamp.error.no_such_procedure", "nobody registered this procedure");
  }

  /** At the call, and anew at each result that is not the last. */
  #startTimer(invocation: Invocation): void {
    const { timeout } = invocation;
    invocation.stopTimer();
    if (timeout === 0) return;
    invocation.stopTimer = this.#parts.clock.after(Math.min(timeout, LONGEST_TIMEOUT), () =>
      this.#end(invocation, "wamp.error.timeout", "the call took too long", true),
    );
  }

  #answer(invocation: Invocation, isLast: boolean, message: readonly unknown[]): void {
    const { caller } = invocation;
    try {
      const frame = frameOr(caller, message);
      if (isLast) this.#invocations.remove(invocation);
      else this.#startTimer(invocation);
      caller.send(frame);
    } catch (error) {
      if (!(error instanceof RequestRefused)) throw error;
      this.#end(invocation, error.uri, error.message, !isLast);
    }
  }

  #end(invocation: Invocation, uri: string, text: string, interrupts: boolean): void {
    this.#invocations.remove(invocation);
    tellEnd(invocation, uri, text);
    if (interrupts && invocation.callee.features.callCanceling) interrupt(invocation, "killnowait");
  }

  #remove(callee: Member, registration: Registration): void {
    const removed = this.#parts.registrations.remove(callee, registration);
    if (removed === undefined) return;
    this.#announce("on_unregister", callee, registration);
    if (removed.deleted) this.#announce("on_delete", callee, registration);
  }

  #announce(what: Announcement, { identity }: Member, { id }: Registration): void {
    this.#parts.announce(`wamp.registration.${what}`, [identity.session, id]);
  }
}

/** A registration as the meta API tells it. */
export function describeRegistration({ id, created, uri, match, invoke }: Registration) {
  return { id, created, uri, match, invoke };
}

function tellEnd({ caller, request }: Invocation, uri: string, text: string): void {
  tell(caller, [ERROR, CALL, request, {}, uri, [text]]);
}

function interrupt({ callee, id }: Invocation, mode: "kill" | "killnowait"): void {
  tell(callee, [INTERRUPT, id, { mode }]);
}

/** @throws RequestRefused when the payload has no form in the receiver's serializer. */
function frameOr({ serializer }: Member, message: readonly unknown[]): Uint8Array {
  try {
    return toFrame(serializer, message);
  } catch {
    throw new RequestRefused(
      "wamp.error.invalid_argument",
      `the payload cannot be written as ${serializer.id}`,
    );
  }
}
