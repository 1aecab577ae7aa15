/** The part of autobahn-js 26 that only this suite uses, beside shared/wamp/autobahn.d.ts. */
declare module "autobahn" {
  export interface JsSerializer {
    readonly SERIALIZER_ID: string;
    readonly BINARY: boolean;
    serialize(message: unknown[]): unknown;
    unserialize(data: unknown): unknown[];
  }
  export const serializer: Record<
    "JSONSerializer" | "MsgpackSerializer" | "CBORSerializer",
    new () => JsSerializer
  >;
  export const log: { warn: (...text: unknown[]) => void };
  export const transports: { register(type: string, factory: unknown): void };
  export class Result {
    constructor(args?: readonly unknown[], kwargs?: object);
    readonly args: unknown[];
    readonly kwargs: Record<string, unknown>;
  }
  export interface Connecting {
    readonly transports: readonly object[];
    readonly realm: string;
    readonly authid: string;
    readonly authmethods: readonly string[];
    readonly authextra: object;
    readonly max_retries: number;
    readonly onchallenge: (session: unknown, method: string, extra: { challenge: string }) => string;
    readonly on_user_error: (error: unknown) => void;
    readonly on_internal_error: (error: unknown) => void;
  }
  export class Connection {
    constructor(options: Connecting);
    open(): void;
  }
}
