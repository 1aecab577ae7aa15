import type { ContentfulStatusCode } from "hono/utils/http-status";

/**
 * Every reason for which the edge does not take a request, with what the wire says about it. No text
 * tells a MAC, a secret, or anything of the body.
 */
const REFUSALS = {
  ERR_METHOD: [
    405,
    "This URL takes webhook deliveries from GitHub, by POST; it has nothing to show.",
    "put it into the webhook's settings at GitHub",
  ],
  ERR_CONTENT_TYPE: [
    415,
    "the content type is neither application/json nor application/x-www-form-urlencoded",
    "choose application/json in the webhook's settings",
  ],
  ERR_BODY_TOO_LARGE: [413, "the body is over 25 MiB", "GitHub sends no payload over 25 MB"],
  ERR_BODY_SLOW: [408, "the body did not come in time", "redeliver it from the webhook's settings at GitHub"],
  ERR_HEADER: [400, "a header of GitHub's is missing or malformed", "GitHub sends it with every delivery"],
  ERR_SIGNATURE: [
    401,
    "the signature does not match the body",
    "set the same secret at GitHub and at the edge",
  ],
  ERR_SOURCE: [
    403,
    "the secret that signed this is not for this repository or organisation",
    "compare the webhook's place at GitHub with the edge's SOURCES",
  ],
  ERR_DISAGREE: [400, "headers and body disagree", "GitHub sends both as they belong together"],
  ERR_BODY: [400, "the body cannot be taken", "GitHub sends one JSON object in UTF-8"],
  ERR_NOT_FOUND: [404, "there is nothing at this path", "the webhook's path is /webhook/github"],
  ERR_STREAM: [404, "there is no such stream", "name one in the relay's edge.streams: see docs/edge.md"],
  ERR_UPGRADE: [426, "the drain is a WebSocket", "it is for relays: see docs/protocol.md"],
  ERR_CONFIG: [503, "the edge is misconfigured", "GET /health names the settings at fault"],
  ERR_BUSY: [503, "too many large deliveries at once", "redeliver it from the webhook's settings at GitHub"],
  ERR_STORE: [503, "the delivery could not be stored", "redeliver it from the webhook's settings at GitHub"],
} as const satisfies Record<string, readonly [ContentfulStatusCode, string, string]>;

export type RefusalCode = keyof typeof REFUSALS;

/** Thrown to answer a request with `{error:{code,message,hint}}`. `detail` replaces the general message. */
export class Refusal extends Error {
  readonly code: RefusalCode;
  readonly status: ContentfulStatusCode;
  readonly hint: string;

  constructor(code: RefusalCode, detail?: string) {
    const [status, message, hint] = REFUSALS[code];
    super(detail ?? message);
    this.code = code;
    this.status = status;
    this.hint = hint;
  }

  get body(): { error: { code: string; message: string; hint: string } } {
    return { error: { code: this.code, message: this.message, hint: this.hint } };
  }
}
