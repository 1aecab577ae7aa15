import { CLOSE_INTERNAL_ERROR, CLOSE_PROTOCOL_ERROR } from "./codes.ts";

/** A client that breaks the protocol: its connection ends with this WebSocket close code. */
export class ProtocolFault extends Error {
  override readonly name = "ProtocolFault";
  readonly closeCode: number;

  constructor(closeCode: number, message: string) {
    super(message);
    this.closeCode = closeCode;
  }
}

/** A message that WAMP does not have, or not like this. */
export function malformed(what: string): ProtocolFault {
  return new ProtocolFault(CLOSE_PROTOCOL_ERROR, what);
}

/** A message that Crossbar.io itself trips over: an unusable URI, or a text where bytes should be. */
export function unusable(what: string): ProtocolFault {
  return new ProtocolFault(CLOSE_INTERNAL_ERROR, what);
}

/** A request that is answered with an ERROR; the session goes on. */
export class RequestRefused extends Error {
  override readonly name = "RequestRefused";
  readonly uri: `wamp.error.${string}`;

  /** `message` goes to the client: it holds nothing that it did not send itself. */
  constructor(uri: `wamp.error.${string}`, message: string) {
    super(message);
    this.uri = uri;
  }
}
