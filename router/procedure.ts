import { RequestRefused } from "./faults.ts";
import type { Member } from "./member.ts";
import { isDict, type Dict, type Payload } from "./payload.ts";

export interface ProcedureCall {
  readonly caller: Member;
  readonly payload: Payload;
}

/** A procedure of the router's own: what it answers. Refuses with {@link RequestRefused}. */
export type Procedure = (call: ProcedureCall) => readonly unknown[];

export function argsOf({ payload }: ProcedureCall): readonly unknown[] {
  const [args] = payload.tail;
  return Array.isArray(args) ? args : [];
}

export function kwargsOf({ payload }: ProcedureCall): Dict {
  const [, kwargs] = payload.tail;
  return isDict(kwargs) ? kwargs : {};
}

export function textArg(value: unknown, what: string): string {
  if (typeof value !== "string") throw invalidArgument(what);
  return value;
}

export function idArg(value: unknown, what: string): number {
  if (typeof value !== "number" && typeof value !== "bigint") throw invalidArgument(what);
  return Number(value);
}

export function invalidArgument(what: string): RequestRefused {
  return new RequestRefused("wamp.error.invalid_argument", `not a ${what}`);
}
