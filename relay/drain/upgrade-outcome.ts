/**
 * What the edge's front door says when it does not open the drain: Cloudflare's answers and the edge's own, told
 * apart by {@link OUTCOMES}.
 *
 * Sources: developers.cloudflare.com, "Detect a Challenge Page response", "Cloudflare 1xxx errors", "Cloudflare 5xx
 * errors"; the edge's own answers are those of docs/protocol.md §1.
 */
import { OnionhookError } from "../../shared/errors.ts";
import type { HttpAnswer } from "../../shared/host/websocket.ts";

/** Makes Cloudflare answer with JSON, whose `error_code` does not hide behind kilobytes of a page's head. */
export const UPGRADE_HEADERS = { Accept: "application/json" };

/** What another exit of Tor may not meet: the next try is on another circuit. */
export const CIRCUIT_ERRORS: ReadonlySet<string> = new Set([
  "ERR_EDGE_CHALLENGED",
  "ERR_EDGE_RATE_LIMITED",
  // An exit that puts itself in between cannot prove the edge's name.
  "ERR_CERTIFICATE",
  "ERR_TLS",
]);

/** An answer as it is told apart. */
interface Signs {
  status: number;
  /** `cf-mitigated: challenge`. */
  challenged: boolean;
  /** Cloudflare's number of the error, 1000 to 1999, or 0. */
  cloudflare: number;
  /** The edge's own code. */
  own: string | undefined;
}

interface Outcome {
  when: (signs: Signs) => boolean;
  code: `ERR_EDGE_${string}`;
  /** `answered`: the status, and the code if there is one. */
  message: (answered: string) => string;
  hint: string;
  /** Nobody needs to mend anything for another try to succeed. */
  retryable: boolean;
}

/** Cloudflare's own number as JSON, as plain text, and in the page for people. */
const CLOUDFLARE_CODE = /(?:"error_code"\s*:\s*|error code:\s*|error\s+|cf-error-code">\s*)(1\d{3})\b/i;
/** Only what has the form of a code is ever repeated. */
const OWN_CODE = /"error"\s*:\s*\{\s*"code"\s*:\s*"(ERR_[A-Z_]{1,50})"/;

/** Banned by address, network, country, browser signature or a rule of the zone. */
const BLOCKS: ReadonlySet<number> = new Set([1005, 1006, 1007, 1008, 1009, 1010, 1012, 1020, 1106]);
const RATE_LIMITED = 1015;
const QUOTA_USED_UP = 1027;

const RULES = "give the drain's host name the rules of deploy/cloudflare";

/** The first that fits counts; the last fits always. */
const OUTCOMES: readonly Outcome[] = [
  {
    when: ({ challenged }) => challenged,
    code: "ERR_EDGE_CHALLENGED",
    message: () => "Cloudflare wants a browser's proof from this exit of Tor",
    hint: `${RULES}, and switch Bot Fight Mode off: no rule can except from it`,
    retryable: true,
  },
  {
    when: ({ cloudflare }) => cloudflare === QUOTA_USED_UP,
    code: "ERR_EDGE_QUOTA",
    message: () => "the edge's requests of this day are used up at Cloudflare",
    hint: "they begin anew at 00:00 UTC; a rate limit (deploy/cloudflare) or a paid plan makes them last",
    retryable: false,
  },
  {
    when: ({ status, cloudflare }) => status === 429 || cloudflare === RATE_LIMITED,
    code: "ERR_EDGE_RATE_LIMITED",
    message: (answered) => `the edge's front door ${answered}: too many requests`,
    hint: "others may share the exit of Tor; if it stays, look at the zone's rate limits",
    retryable: true,
  },
  {
    when: ({ status, cloudflare, own }) => BLOCKS.has(cloudflare) || (status === 403 && own === undefined),
    code: "ERR_EDGE_BLOCKED",
    message: (answered) => `Cloudflare ${answered}: it blocks this relay`,
    hint: `${RULES}; the zone's security events name the rule that blocks, look there for country T1`,
    retryable: false,
  },
  {
    when: ({ status }) => status === 401 || status === 403,
    code: "ERR_EDGE_REFUSED",
    message: (answered) => `the edge ${answered}: it does not let this relay in`,
    hint: "check edge.relay and edge.key_file against the edge's RELAYS, and that nothing like Cloudflare Access guards the drain's path",
    retryable: false,
  },
  {
    when: ({ status }) => status === 404,
    code: "ERR_EDGE_NOT_FOUND",
    message: (answered) => `the edge ${answered}: there is no such drain`,
    hint: "edge.url ends in /drain, and every name in edge.streams is a stream of the edge",
    retryable: false,
  },
  {
    when: ({ status }) => status === 426,
    code: "ERR_EDGE_NO_UPGRADE",
    message: (answered) => `the edge ${answered}: it saw no upgrade that it takes`,
    hint: "deploy edge and relay of the same version, and switch WebSockets on in the zone's network settings",
    retryable: false,
  },
  {
    when: ({ status }) => (status >= 520 && status <= 527) || status === 530,
    code: "ERR_EDGE_DOWN",
    message: (answered) => `Cloudflare ${answered}: it does not reach the edge`,
    hint: "is the Worker deployed, with the drain's host name as its custom domain?",
    retryable: true,
  },
  {
    when: ({ status }) => status >= 500,
    code: "ERR_EDGE_FAILED",
    message: (answered) => `the edge ${answered}`,
    hint: "GET /health at the edge names what is wrong with its settings; npx wrangler tail shows the rest",
    retryable: true,
  },
  {
    when: () => true,
    code: "ERR_EDGE_ANSWER",
    message: (answered) => `the edge ${answered} instead of a WebSocket`,
    hint: "check edge.url: what answers there is not the edge",
    retryable: false,
  },
];

/** What the answer means for a relay. Of the body, the error has at most a code. */
export function upgradeError({ status, headers, body }: HttpAnswer): OnionhookError {
  const signs: Signs = {
    status,
    challenged: headers["cf-mitigated"] === "challenge",
    cloudflare: Number(CLOUDFLARE_CODE.exec(body)?.[1] ?? 0),
    own: OWN_CODE.exec(body)?.[1],
  };
  const named = signs.own ?? (signs.cloudflare === 0 ? undefined : `Cloudflare's error ${signs.cloudflare}`);
  const answered = named === undefined ? `answered ${status}` : `answered ${status} (${named})`;
  const outcome = OUTCOMES.find(({ when }) => when(signs));
  if (outcome === undefined) throw new RangeError("the last outcome fits always");
  const { code, message, hint, retryable } = outcome;
  return new OnionhookError(code, message(answered), { hint, retryable });
}
