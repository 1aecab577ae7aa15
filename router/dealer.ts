import { CALL, ERROR, INVOCATION, REGISTERED, RESULT, UNREGISTERED } from "./codes.ts";
import { RequestRefused } from "./faults.ts";
import { newId } from "./ids.ts";
import { disclosure, tell, toFrame, withPayload, type Member } from "./member.ts";
import type { Call, InvocationError, Register, RequestId, Yield } from "./messages.ts";
import type { Procedure } from "./meta-api.ts";
import { allowing, type Permission } from "./permissions.ts";
import { isReserved } from "./uri.ts";

interface Registration {
  readonly id: number;
  readonly procedure: string;
  readonly callee: Member;
}

/** A call that waits for its callee. */
interface Invocation {
  readonly id: number;
  readonly caller: Member;
  readonly request: RequestId;
  readonly callee: Member;
}

export interface DealerParts {
  /** Procedures that the router answers itself. */
  readonly builtIn: ReadonlyMap<string, Procedure>;
  readonly permissionsOf: (member: Member) => readonly Permission[];
}

/**
 * Calls within one realm: one callee for a procedure, no patterns, no progress. Refusals are thrown as
 * {@link RequestRefused}. A call ends by its callee's answer, or when either side leaves.
 */
export class Dealer {
  readonly #builtIn: DealerParts["builtIn"];
  readonly #permissionsOf: DealerParts["permissionsOf"];
  readonly #byProcedure = new Map<string, Registration>();
  readonly #byId = new Map<number, Registration>();
  readonly #invocations = new Map<number, Invocation>();

  constructor({ builtIn, permissionsOf }: DealerParts) {
    this.#builtIn = builtIn;
    this.#permissionsOf = permissionsOf;
  }

  register(callee: Member, { request, procedure, options }: Register): void {
    if (isReserved(procedure))
      throw new RequestRefused("wamp.error.invalid_uri", "this procedure is the router's own");
    if (allowing(this.#permissionsOf(callee), "register", procedure) === undefined)
      throw new RequestRefused("wamp.error.not_authorized", "not authorized to register");
    if ((options["match"] ?? "exact") !== "exact" || (options["invoke"] ?? "single") !== "single")
      throw new RequestRefused("wamp.error.option_not_allowed", "only exact, single registrations");
    if (this.#byProcedure.has(procedure))
      throw new RequestRefused("wamp.error.procedure_already_exists", "somebody registered it already");
    const registration = { id: newId(this.#byId), procedure, callee };
    this.#byProcedure.set(procedure, registration);
    this.#byId.set(registration.id, registration);
    tell(callee, [REGISTERED, request, registration.id]);
  }

  unregister(callee: Member, request: RequestId, id: number): void {
    const registration = this.#byId.get(id);
    if (registration?.callee !== callee)
      throw new RequestRefused("wamp.error.no_such_registration", "no such registration");
    this.#forget(registration);
    tell(callee, [UNREGISTERED, request]);
  }

  call(caller: Member, { request, procedure, payload }: Call): void {
    const permission = allowing(this.#permissionsOf(caller), "call", procedure);
    if (permission === undefined)
      throw new RequestRefused("wamp.error.not_authorized", "not authorized to call");
    const builtIn = this.#builtIn.get(procedure);
    if (builtIn !== undefined) {
      const [args] = payload.tail;
      tell(caller, [RESULT, request, {}, [builtIn(Array.isArray(args) ? args : [])]]);
      return;
    }
    const registration = this.#byProcedure.get(procedure);
    if (registration === undefined)
      throw new RequestRefused("wamp.error.no_such_procedure", "nobody registered this procedure");
    const { callee } = registration;
    const id = newId(this.#invocations);
    const details = permission.disclose.caller ? disclosure("caller", caller) : {};
    const frame = frameOr(callee, withPayload([INVOCATION, id, registration.id], details, payload));
    // Before it is sent: a callee that is too slow leaves while we send, and the caller is to hear of it.
    this.#invocations.set(id, { id, caller, request, callee });
    callee.send(frame);
  }

  /** The caller gives up: it is told so, and the callee's answer, when it comes, goes nowhere. */
  cancel(caller: Member, request: RequestId): void {
    for (const invocation of this.#invocations.values())
      if (invocation.caller === caller && invocation.request === request) {
        this.#invocations.delete(invocation.id);
        tell(caller, [ERROR, CALL, request, {}, "wamp.error.canceled", ["canceled by the caller"]]);
      }
  }

  /** An answer to a call that is over already, or is not this callee's, is dropped. */
  yield(callee: Member, { invocation: id, payload }: Yield): void {
    this.#answer(callee, id, (request) => withPayload([RESULT, request], {}, payload));
  }

  invocationError(callee: Member, { invocation: id, uri, payload }: InvocationError): void {
    this.#answer(callee, id, (request) => withPayload([ERROR, CALL, request], {}, payload, [uri]));
  }

  /** Ends the registrations of a member that has left; those who wait for its answers are told. */
  leave(member: Member): void {
    for (const registration of this.#byId.values())
      if (registration.callee === member) this.#forget(registration);
    for (const { id, caller, callee, request } of this.#invocations.values()) {
      if (caller !== member && callee !== member) continue;
      this.#invocations.delete(id);
      if (caller !== member)
        tell(caller, [ERROR, CALL, request, {}, "wamp.error.canceled", ["the callee has left"]]);
    }
  }

  #answer(callee: Member, id: number, toMessage: (request: RequestId) => readonly unknown[]): void {
    const invocation = this.#invocations.get(id);
    if (invocation?.callee !== callee) return;
    this.#invocations.delete(id);
    const { caller, request } = invocation;
    try {
      caller.send(frameOr(caller, toMessage(request)));
    } catch (error) {
      if (!(error instanceof RequestRefused)) throw error;
      tell(caller, [ERROR, CALL, request, {}, error.uri, [error.message]]);
    }
  }

  #forget({ id, procedure }: Registration): void {
    this.#byId.delete(id);
    this.#byProcedure.delete(procedure);
  }
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
