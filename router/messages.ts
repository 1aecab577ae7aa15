/**
 * What a client may send, from lists to typed messages. Only form is judged here: who may do what, and
 * when, is for session, broker and dealer.
 *
 * Source: WAMP Basic and Advanced Profile. Which faults end the connection, and with which code, follows
 * Crossbar.io.
 */
import { MATCH_POLICIES, type Match } from "../shared/wamp/match.ts";
import * as code from "./codes.ts";
import { malformed } from "./faults.ts";
import {
  atLeast,
  choice,
  count,
  dict,
  flag,
  id,
  optionalText,
  ourId,
  pattern,
  sized,
  text,
  uri,
} from "./fields.ts";
import type { RequestId } from "./fields.ts";
import { parsePayload, type Dict, type Payload } from "./payload.ts";

/** WAMP Advanced Profile, "Shared Registration". The first is the default. */
const INVOKE_POLICIES = ["single", "first", "last", "roundrobin", "random"] as const;
export type Invoke = (typeof INVOKE_POLICIES)[number];

/** What a client says that it can do as a callee. */
export interface CalleeFeatures {
  readonly callCanceling: boolean;
  /** Only together with call canceling: else the dealer could not stop a stream that nobody reads. */
  readonly progressiveCallResults: boolean;
}

export interface Hello {
  readonly type: "hello";
  readonly realm: string | undefined;
  readonly authid: string | undefined;
  readonly authmethods: readonly string[];
  readonly pubkey: string | undefined;
  readonly channelBinding: string | undefined;
  readonly callee: CalleeFeatures;
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
  readonly receiveProgress: boolean;
  /** Milliseconds; 0: none. */
  readonly timeout: number;
  readonly payload: Payload;
}
export interface Cancel {
  readonly type: "cancel";
  readonly request: RequestId;
  readonly mode: CancelMode;
}
export interface Register {
  readonly type: "register";
  readonly request: RequestId;
  readonly procedure: string;
  readonly match: Match;
  readonly invoke: Invoke;
  /** Whether it asks for what is not WAMP's: `concurrency`, or `force_reregister`. */
  readonly isStrange: boolean;
}
export interface Yield {
  readonly type: "yield";
  readonly invocation: number;
  readonly progress: boolean;
  readonly payload: Payload;
}
export interface InvocationError {
  readonly type: "invocationError";
  readonly invocation: number;
  readonly uri: string;
  readonly payload: Payload;
}

/** The first is the default, as on Crossbar.io; the specification has none. */
const CANCEL_MODES = ["killnowait", "kill", "skip"] as const;
type CancelMode = (typeof CANCEL_MODES)[number];

/** WAMP Basic Profile, "Client: Role and Feature Announcement". */
const ROLES = new Set(["publisher", "subscriber", "caller", "callee"]);

/** What only a joined session may send, apart from GOODBYE. */
export type RoutedMessage =
  | Publish
  | Subscribe
  | { readonly type: "unsubscribe"; readonly request: RequestId; readonly subscription: number }
  | Call
  | Cancel
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
      const options = dict(atLeast(list, 4)[2], "options");
      const acknowledge = flag(options, "acknowledge");
      flag(options, "exclude_me");
      const payload = parsePayload(list.slice(4), options);
      return { type: "publish", request: id(list[1]), topic: uri(list[3]), acknowledge, options, payload };
    }
    case code.YIELD: {
      const options = dict(list[2], "options");
      const payload = parsePayload(list.slice(3), options);
      return { type: "yield", invocation: ourId(list[1]), progress: flag(options, "progress"), payload };
    }
    case code.CALL:
      return parseCall(atLeast(list, 4));
    case code.ERROR: {
      if (list[1] !== code.INVOCATION) throw malformed("ERROR for something that was not asked");
      const payload = parsePayload(list.slice(5), dict(atLeast(list, 5)[3], "details"));
      return { type: "invocationError", invocation: ourId(list[2]), uri: uri(list[4]), payload };
    }
    case code.SUBSCRIBE: {
      const match = choice(dict(sized(list, 4)[2], "options"), "match", MATCH_POLICIES);
      // Whether empty components may be there is the broker's to say, with an ERROR.
      return { type: "subscribe", request: id(list[1]), topic: pattern(list[3], "wildcard"), match };
    }
    case code.UNSUBSCRIBE:
      return { type: "unsubscribe", request: id(sized(list, 3)[1]), subscription: ourId(list[2]) };
    case code.REGISTER:
      return parseRegister(sized(list, 4));
    case code.UNREGISTER:
      return { type: "unregister", request: id(sized(list, 3)[1]), registration: ourId(list[2]) };
    case code.CANCEL: {
      const mode = choice(dict(sized(list, 3)[2], "options"), "mode", CANCEL_MODES);
      return { type: "cancel", request: id(list[1]), mode };
    }
    case code.HELLO:
      return parseHello(sized(list, 3));
    case code.AUTHENTICATE:
      dict(sized(list, 3)[2], "extra");
      return { type: "authenticate", signature: text(list[1], "signature") };
    case code.GOODBYE:
    case code.ABORT:
      dict(sized(list, 3)[1], "details");
      uri(list[2]);
      return { type: list[0] === code.GOODBYE ? "goodbye" : "abort" };
    default:
      throw malformed("a message that no client sends");
  }
}

function parseCall(list: readonly unknown[]): Call {
  const options = dict(list[2], "options");
  return {
    type: "call",
    request: id(list[1]),
    procedure: uri(list[3]),
    receiveProgress: flag(options, "receive_progress"),
    timeout: count(options, "timeout", 0) ?? 0,
    payload: parsePayload(list.slice(4), options),
  };
}

function parseRegister(list: readonly unknown[]): Register {
  const options = dict(list[2], "options");
  const match = choice(options, "match", MATCH_POLICIES);
  const invoke = choice(options, "invoke", INVOKE_POLICIES);
  const procedure = pattern(list[3], match);
  // Crossbar.io's own. To overlook them would change what the callee means.
  const limited = count(options, "concurrency", 1) !== undefined;
  const isStrange = flag(options, "force_reregister") || limited;
  return { type: "register", request: id(list[1]), procedure, match, invoke, isStrange };
}

function parseHello(list: readonly unknown[]): Hello {
  const details = dict(list[2], "details");
  const roles = dict(details["roles"], "roles");
  if (Object.keys(roles).length === 0) throw malformed("a client has a role");
  for (const [role, announced] of Object.entries(roles)) {
    if (!ROLES.has(role)) throw malformed("a role that no client has");
    dict(dict(announced, "a role")["features"] ?? {}, "features");
  }
  const authmethods = details["authmethods"] ?? [];
  if (!Array.isArray(authmethods)) throw malformed("authmethods must be a list");
  const extra = dict(details["authextra"] ?? {}, "authextra");
  return {
    type: "hello",
    realm: list[1] === null ? undefined : uri(list[1]),
    authid: optionalText(details["authid"], "authid"),
    authmethods: authmethods.map((method) => text(method, "authmethods")),
    pubkey: typeof extra["pubkey"] === "string" ? extra["pubkey"] : undefined,
    channelBinding: optionalText(extra["channel_binding"], "channel_binding"),
    callee: parseCalleeFeatures(dict(roles["callee"] ?? {}, "callee")),
  };
}

function parseCalleeFeatures(callee: Dict): CalleeFeatures {
  const features = dict(callee["features"] ?? {}, "features");
  const callCanceling = flag(features, "call_canceling");
  return {
    callCanceling,
    progressiveCallResults: flag(features, "progressive_call_results") && callCanceling,
  };
}
