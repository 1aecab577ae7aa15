/** The part of autobahn-js 26 that shared/wamp/ uses; the package has no types of its own. */
declare module "autobahn" {
  export interface Transport {
    onmessage: (message: unknown[]) => void;
    onopen: () => void;
    onclose: (event: { code: number; reason: string; wasClean: boolean }) => void;
    send: (message: unknown[]) => void;
    close: (code?: number, reason?: string) => void;
    info: object;
  }
  export interface AutobahnEvent {
    topic: string;
  }
  type Handler = (args: unknown[], kwargs: Record<string, unknown>, event: AutobahnEvent) => unknown;
  export interface Call extends Promise<unknown> {
    cancel(options: { mode: "kill" }): void;
  }
  export class Session {
    constructor(
      transport: Transport,
      defer: () => unknown,
      onchallenge: (session: Session, method: string, extra: { challenge: string }) => string,
      onUserError: (error: unknown, text: string) => void,
      onInternalError: (error: unknown, text: string) => void,
    );
    readonly isOpen: boolean;
    onjoin: (details: unknown) => void;
    onleave: (reason: string, details: unknown) => void;
    join(realm: string, authmethods: string[], authid: string, authextra: object): void;
    leave(reason?: string): void;
    publish(topic: string, args: unknown[], kwargs: object | undefined, options: object): Promise<unknown>;
    subscribe(topic: string, handler: Handler, options: object): Promise<unknown>;
    register(procedure: string, handler: Handler, options?: object): Promise<unknown>;
    call(procedure: string, args: unknown[], kwargs?: object): Call;
  }
  /** No `Error` of the language: a plain object that is thrown. What the wire gives is not checked. */
  export class Error {
    constructor(error: string, args?: unknown[]);
    readonly error: unknown;
    readonly args: unknown;
  }
  export const util: { deferred_factory(options: { use_es6_promises: true }): () => unknown };
  export const auth_cryptosign: {
    sign_challenge(pair: { secretKey: Uint8Array }, extra: { challenge: string }): string;
  };
}
