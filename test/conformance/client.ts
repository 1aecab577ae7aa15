/** A session of a real client library, as scenarios use it: written once, run by Autobahn|Python and autobahn-js. */
import type { SerializerId } from "../../shared/wamp/serializers.ts";
import type { KeyPair } from "../router/raw-client.ts";

export interface Payload {
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
}

/** An event as the library gave it to its handler. */
export interface Received extends Payload {
  readonly topic: string;
  readonly publication: number;
  readonly publisher?: number;
  readonly publisher_authid?: string;
  readonly publisher_authrole?: string;
}

export interface Subscription {
  readonly id: number;
  /** In the order in which they came. */
  readonly events: Received[];
}

export interface Invocation extends Payload {
  readonly procedure: string;
  readonly caller?: number;
  readonly caller_authid?: string;
  readonly caller_authrole?: string;
  /** Undefined unless the caller asked for progress. */
  readonly progress: ((payload: Payload) => void) | undefined;
  /** Resolves when the router interrupts it; never with a library that cannot be interrupted. */
  readonly interrupted: Promise<void>;
}

/** What a callee does with a call: returns, fails with a {@link WampError}, or throws what it likes. */
export type Handler = (invocation: Invocation) => Payload | Promise<Payload>;

export interface Registration {
  readonly id: number;
}

export interface Call {
  /** Rejects with a {@link WampError}. */
  readonly answer: Promise<Payload>;
  readonly progress: Payload[];
  /** As the library cancels by itself: none of them offers every mode. */
  cancel(): void;
}

export interface PublishOptions {
  readonly acknowledge?: boolean;
  readonly exclude_me?: boolean;
  readonly exclude?: readonly number[];
  readonly exclude_authid?: readonly string[];
  readonly exclude_authrole?: readonly string[];
  readonly eligible?: readonly number[];
  readonly eligible_authid?: readonly string[];
  readonly eligible_authrole?: readonly string[];
}

export interface RegisterOptions {
  readonly match?: "exact" | "prefix" | "wildcard";
  readonly invoke?: "single" | "first" | "last" | "roundrobin" | "random";
}

export interface Client {
  readonly id: number;
  /** The details of WELCOME, as far as the library keeps them. */
  readonly welcome: Readonly<Record<string, unknown>>;
  /** Resolves with the publication's id; at once, with undefined, when it is not acknowledged. */
  publish(topic: string, payload?: Payload, options?: PublishOptions): Promise<number | undefined>;
  subscribe(topic: string, match?: "exact" | "prefix" | "wildcard"): Promise<Subscription>;
  unsubscribe(subscription: Subscription): Promise<void>;
  register(procedure: string, handler: Handler, options?: RegisterOptions): Promise<Registration>;
  unregister(registration: Registration): Promise<void>;
  call(procedure: string, payload?: Payload, options?: { readonly progress?: boolean }): Call;
  /** Says goodbye. */
  leave(): void;
  /** Ends the TCP connection without a word. */
  drop(): void;
  /** Resolves with the reason of the router's GOODBYE, or undefined when there was none. */
  readonly left: Promise<string | undefined>;
}

export interface JoinOptions {
  readonly url: string;
  readonly realm: string;
  readonly authid: string;
  readonly keys: KeyPair;
  readonly serializer: SerializerId;
}

/** A client library. */
export interface Library {
  readonly name: "Autobahn|Python" | "autobahn-js";
  /** Rejects with a {@link WampError} that names the reason of the router's ABORT. */
  join(options: JoinOptions): Promise<Client>;
  stop(): void;
}

/** An ERROR, as the library told of it. */
export class WampError extends Error {
  override readonly name = "WampError";
  readonly uri: string;
  readonly payload: Payload;

  constructor(uri: string, payload: Payload = payloadOf()) {
    super(`${uri} ${JSON.stringify(payload.args)}`);
    this.uri = uri;
    this.payload = payload;
  }
}

export function payloadOf(args: readonly unknown[] = [], kwargs: Payload["kwargs"] = {}): Payload {
  return { args, kwargs };
}

/** The Ed25519 seed, 64 hex digits: what libraries want for a private key. */
export function seedHex({ privateKey }: KeyPair): string {
  return privateKey.export({ format: "der", type: "pkcs8" }).subarray(-32).toString("hex");
}
