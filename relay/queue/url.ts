import { OnionhookError } from "../../shared/errors.ts";

/** The nodes of a cluster: `redis-cluster://` or `rediss-cluster://`, user and password, then each with its port. */
export const CLUSTER_URL = /^redis(s?)-cluster:\/\/([^/@\s]*@)?([^\s/@,:]+:\d+(?:,[^\s/@,:]+:\d+)*)\/?$/i;

/** Which store a queue URL names. Throws `ERR_QUEUE_URL`, whose message never holds more than the scheme. */
export function queueKind(url: string): "embedded" | "local-redis" | "redis" | "postgres" {
  if (url === "embedded" || url === "local-redis") return url;
  if (CLUSTER_URL.test(url)) return "redis";
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(url)?.[1]?.toLowerCase();
  if (URL.canParse(url)) {
    if (scheme === "redis" || scheme === "rediss") return "redis";
    if (scheme === "postgres" || scheme === "postgresql") return "postgres";
  }
  const found = scheme === undefined ? "something that is no URL" : `a URL that begins with ${scheme}://`;
  const message = `queue.url is ${found}; expected "embedded", "local-redis", redis://host:port, redis-cluster://host:port,host:port or postgres://user@host/database`;
  throw new OnionhookError("ERR_QUEUE_URL", message, {
    hint: 'Set queue.url to "embedded" to need no server.',
  });
}
