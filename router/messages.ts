/**
 * What a client may send, from lists to typed messages. Only form is judged here: who may do what, and
 * when, is for session, broker and dealer.
 *
 * Source: WAMP Basic Profile. Which faults end the connection, and with which code, follows Crossbar.io.
 */
import * as code from "./codes.ts";
import { malformed, unusable } from "./faults.ts";
import { isDict, parsePayload, type Dict, type Payload } from "./payload.ts";
import { isMatch, isUri, type Match } from "./uri.ts";

/** A request id, kept as it was decoded, so that it goes back as it came. */
export type RequestId = number | bigint;

export interface Hello {
  readonly type: "hello";
  readonly realm: string | undefined;
  readonly authid: string | undefined;
  readonly authmethods: readonly string[];
  readonly pubkey: string | undefined;
  readonly channelBinding: string | undefined;
}
export interface Publish {
  readonly type: "publish";
  readonly request: RequestId;
  readonly topic: string;
  readonly acknowledge: boolean;
  readonly options: Dict;
  readonly payload: Payload;
}
export interface Subscribe {
  readonly type: "subscribe";
  readonly request: RequestId;
  readonly topic: string;
  readonly match: Match;
}
export interface Call {
  readonly type: "call";
  readonly request: RequestId;
  readonly procedure: string;
  readonly payload: Payload;
}
export interface Register {
  readonly type: "register";
  readonly request: RequestId;
  readonly procedure: string;
  readonly options: Dict;
}
export interface Yield {
  readonly type: "yield";
  readonly invocation: number;
  readonly payload: Payload;
}
export interface InvocationError {
  readonly type: "invocationError";
  readonly invocation: number;
  readonly uri: string;
  readonly payload: Payload;
}

/** WAMP Basic Profile, "IDs"; Autobahn|Python takes 0 as well, so do we. */
const LARGEST_ID = 2 ** 53;

/** What only a joined session may send, apart from GOODBYE. */
export type RoutedMessage =
  | Publish
  | Subscribe
  | { readonly type: "unsubscribe"; readonly request: RequestId; readonly subscription: number }
  | Call
  | { readonly type: "cancel"; readonly request: RequestId }
  | Register
  | { readonly type: "unregister"; readonly request: RequestId; readonly registration: number }
  | Yield
  | InvocationError;

export type ClientMessage =
  | Hello
  | { readonly type: "authenticate"; readonly signature: string }
  | { readonly type: "goodbye" }
  | { readonly type: "abort" }
  | RoutedMessage;

/** @throws ProtocolFault when it is no message that a client may send. */
export function parseMessage(list: readonly unknown[]): ClientMessage {
  switch (list[0]) {
    case code.PUBLISH: {
      const options = dict(list[2], "options");
      const acknowledge = optionalFlag(options, "acknowledge") ?? false;
      optionalFlag(options, "exclude_me");
      const payload = parsePayload(list.slice(4), options);
      return { type: "publish", request: id(list[1]), topic: uri(list[3]), acknowledge, options, payload };
    }
    case code.YIELD: {
      const options = dict(list[2], "options");
      // INVOCATION never asks for progress.
      if (options["progress"] === true) throw malformed("progress was not asked for");
      return { type: "yield", invocation: ourId(list[1]), payload: parsePayload(list.slice(3), options) };
    }
    case code.CALL: {
      const payload = parsePayload(list.slice(4), dict(list[2], "options"));
      return { type: "call", request: id(list[1]), procedure: uri(list[3]), payload };
    }
    case code.ERROR: {
      if (list[1] !== code.INVOCATION) throw malformed("ERROR for something that was not asked");
      const payload = parsePayload(list.slice(5), dict(list[3], "details"));
      return { type: "invocationError", invocation: ourId(list[2]), uri: uri(list[4]), payload };
    }
    case code.SUBSCRIBE: {
      sized(list, 4);
      const match = dict(list[2], "options")["match"] ?? "exact";
      if (!isMatch(match)) throw malformed("unknown match");
      // Whether the topic is well formed is the broker's to say, with an ERROR.
      return { type: "subscribe", request: id(list[1]), topic: text(list[3], "topic"), match };
    }
    case code.UNSUBSCRIBE:
      return { type: "unsubscribe", request: id(sized(list, 3)[1]), subscription: ourId(list[2]) };
    case code.REGISTER: {
      const options = dict(sized(list, 4)[2], "options");
      if (!isMatch(options["match"] ?? "exact")) throw malformed("unknown match");
      return { type: "register", request: id(list[1]), procedure: uri(list[3]), options };
    }
    case code.UNREGISTER:
      return { type: "unregister", request: id(sized(list, 3)[1]), registration: ourId(list[2]) };
    case code.CANCEL:
      return { type: "cancel", request: id(sized(list, 3)[1]) };
    case code.HELLO:
      return parseHello(sized(list, 3));
    case code.AUTHENTICATE:
      return { type: "authenticate", signature: text(sized(list, 3)[1], "signature") };
    case code.GOODBYE:
      return { type: "goodbye" };
    case code.ABORT:
      return { type: "abort" };
    default:
      throw malformed("a message that no client sends");
  }
}

function parseHello(list: readonly unknown[]): Hello {
  const details = dict(list[2], "details");
  dict(details["roles"], "roles");
  const authmethods = details["authmethods"] ?? [];
  if (!Array.isArray(authmethods)) throw malformed("authmethods must be a list");
  const extra = dict(details["authextra"] ?? {}, "authextra");
  return {
    type: "hello",
    realm: optionalText(list[1], "realm"),
    authid: optionalText(details["authid"], "authid"),
    authmethods: authmethods.map((method) => text(method, "authmethods")),
    pubkey: optionalText(extra["pubkey"], "pubkey"),
    channelBinding: optionalText(extra["channel_binding"], "channel_binding"),
  };
}

function sized(list: readonly unknown[], length: number): readonly unknown[] {
  if (list.length !== length) throw malformed("a message of the wrong length");
  return list;
}

function dict(value: unknown, what: string): Dict {
  if (!isDict(value)) throw malformed(`${what} must be a dictionary`);
  return value;
}

function text(value: unknown, what: string): string {
  if (typeof value !== "string") throw malformed(`${what} must be text`);
  return value;
}

function optionalText(value: unknown, what: string): string | undefined {
  return value === undefined || value === null ? undefined : text(value, what);
}

function optionalFlag(options: Dict, key: string): boolean | undefined {
  const value = options[key];
  if (value !== undefined && typeof value !== "boolean") throw malformed(`${key} must be true or false`);
  return value;
}

function uri(value: unknown): string {
  const name = text(value, "a URI");
  if (!isUri(name)) throw unusable("a malformed URI");
  return name;
}

function id(value: unknown): RequestId {
  if (typeof value === "bigint" && value >= 0n && value <= LARGEST_ID) return value;
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= LARGEST_ID) return value;
  throw malformed("an id must be a whole number from 0 to 2^53");
}

/** An id that we made and the client sends back; some serializers make it a BigInt. */
function ourId(value: unknown): number {
  return Number(id(value));
}
