import { isDeepStrictEqual } from "node:util";
import type { Report } from "../shared/report.ts";
import { Backlogs } from "./backlog.ts";
import { systemClock, type Clock } from "./clock.ts";
import type { RouterConfig } from "./config.ts";
import { startListener, type Endpoint, type Listener } from "./listener.ts";
import type { Principals } from "./principals.ts";
import { Realm } from "./realm.ts";

export interface RouterParts {
  readonly config: RouterConfig;
  /**
   * Told `joined` {authid, role, serializer}, `left` {authid, reason} and `refused` {why}; never keys,
   * topics or anything else in a client's own words.
   */
  readonly report: Report;
  readonly clock?: Clock;
}

export interface Router {
  /** Where it listens, in the configuration's order; a port of 0 is replaced by the real one. */
  readonly endpoints: readonly Endpoint[];
  /**
   * Takes another configuration's principals, each for the transport of the same endpoint, and nothing else
   * of it. Sessions of which name, key, realm or role are no longer there end at once; the others notice
   * nothing. Where the configuration has no transport any more, nobody may join, and nobody stays.
   */
  reload(config: RouterConfig): void;
  /** Tells all clients to come back later (1001) and stops; takes a second at most. May be called twice. */
  close(): Promise<void>;
}

const NOBODY: Principals = new Map();

/**
 * Starts the embedded WAMP router. It keeps nothing: subscriptions and registrations end with their
 * sessions, and events for which nobody is there are gone.
 *
 * @throws OnionhookError `ERR_ROUTER_ENDPOINT` when one endpoint cannot be listened on; no other is
 *   left open then.
 */
export async function startRouter({ config, report, clock = systemClock }: RouterParts): Promise<Router> {
  const realms = new Map(
    [...config.realms].map(([name, roles]) => [name, new Realm(name, roles, clock)] as const),
  );
  const backlogs = new Backlogs();
  const listeners: Listener[] = [];
  const closeAll = async () => {
    await Promise.all(listeners.map((listener) => listener.close()));
  };
  try {
    for (const transport of config.transports)
      // One after the other, so that `endpoints` has the configuration's order and a failure stops the rest.
      // oxlint-disable-next-line no-await-in-loop
      listeners.push(await startListener({ transport, realms, backlogs, clock, report }));
  } catch (error) {
    await closeAll();
    throw error;
  }
  let closing: Promise<void> | undefined;
  return {
    endpoints: listeners.map(({ endpoint }) => endpoint),
    reload: ({ transports }) => {
      const left = [...transports];
      for (const [index, { endpoint }] of config.transports.entries()) {
        const at = left.findIndex((transport) => isDeepStrictEqual(transport.endpoint, endpoint));
        const [found] = at === -1 ? [] : left.splice(at, 1);
        listeners[index]?.setPrincipals(found?.principals ?? NOBODY);
      }
    },
    close: () => (closing ??= closeAll()),
  };
}
