/** How the relay is: a pure fold over its reports. `health.ts` judges it. */
import { keyOf } from "./journeys.ts";
import type { QueueState } from "./queue/queue.ts";

export interface HopStatus {
  readonly hop: "edge" | "router" | "builder";
  /** Of the edge, whose streams are drained one by one; none until the first drain was open. */
  readonly stream?: string;
  /** False where the stream's recipient gives no receipts: then nobody can tell whether its builder is there. */
  readonly receipts?: boolean;
  readonly up: boolean;
  /** When it went up, or down; ms since 1970, as below. A hop is down from the relay's start. */
  readonly since: number;
  /** When an event last came over it: drained from the edge, published to the router, received by a builder. */
  readonly lastEventAt?: number;
}

export interface QueueStatus {
  readonly counts: Readonly<Record<QueueState, number>>;
  /** When the oldest event was added that is neither done nor dead. */
  readonly oldestAt?: number;
}

export interface LastError {
  readonly at: number;
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  /** The peer it is about. */
  readonly to?: string;
  /** Of the edge, whose drain it is about. */
  readonly stream?: string;
  /** When that peer was there again, if it was away. */
  readonly overAt?: number;
}

export interface CanaryStatus {
  readonly stream: string;
  /** When one last went the whole way, and how long it took. */
  readonly at?: number;
  readonly ms?: number;
  /** When the last one was lost, and the last thing that was seen of it. */
  readonly lostAt?: number;
  readonly where?: string;
}

export interface Facts {
  readonly at: number;
  readonly startedAt: number;
  readonly hops: readonly HopStatus[];
  /** Left out while the queue's store is away. */
  readonly queue?: QueueStatus;
  /** The oldest event here that is neither done nor dead, in the queue or not. */
  readonly oldestAt?: number;
  /** When the edge last accepted that an event is done. */
  readonly acceptedAt?: number;
  readonly canaries: readonly CanaryStatus[];
  readonly lastError?: LastError;
}

export interface StatusKeeper {
  /** Takes note of a report. Never throws. */
  readonly note: (event: string, fields?: Readonly<Record<string, unknown>>) => void;
  /** How it is now. @param queue undefined while its store is away. */
  readonly snapshot: (queue: QueueStatus | undefined) => Facts;
}

type Fields = Readonly<Record<string, unknown>>;

interface Link {
  receipts?: boolean;
  up: boolean;
  since: number;
  lastEventAt?: number;
}

/**
 * @param now milliseconds since 1970.
 * @param streams those that the relay is to drain, as far as they are configured.
 */
export function makeStatus(now: () => number, streams: readonly string[] = []): StatusKeeper {
  const startedAt = now();
  const down = (): Link => ({ up: false, since: startedAt });
  const drains = new Map<string, Link>(streams.map((stream) => [stream, down()]));
  const noDrain = down();
  const router = down();
  const builder = down();
  /** Drained, but neither queued nor done: since when, by `STREAM-SEQ`. As many as a drain's window lets through. */
  const underWay = new Map<string, number>();
  const canaries = new Map<string, CanaryStatus>();
  let acceptedAt: number | undefined;
  let lastError: LastError | undefined;

  /** @param isAbout whether the last error is about this link */
  const set = (link: Link, up: boolean, isAbout = () => false): void => {
    if (link.up === up) return;
    // What was said before it went down was no reason to come up again.
    if (up && lastError && lastError.at >= link.since && isAbout())
      lastError = { ...lastError, overAt: now() };
    link.since = now();
    link.up = up;
  };
  function drainOf(stream: string): Link {
    const drain = drains.get(stream) ?? down();
    drains.set(stream, drain);
    return drain;
  }

  function noteLink(peer: unknown, up: boolean, { stream, receipts }: Fields): void {
    if (peer === "router") set(router, up, () => lastError?.to === "router");
    // Without the router nobody knows who is there; it says so anew when it is back.
    if (peer === "router" && !up) set(builder, false);
    if (peer !== "edge" || typeof stream !== "string") return;
    const drain = drainOf(stream);
    set(drain, up, () => lastError?.to === "edge" && (lastError.stream ?? stream) === stream);
    if (typeof receipts === "boolean") drain.receipts = receipts;
  }

  function noteEvent(event: string, stream: string, seq: unknown): void {
    const key = typeof seq === "number" ? keyOf({ stream, seq }) : "";
    if (event === "drained") {
      drainOf(stream).lastEventAt = now();
      if (!underWay.has(key)) underWay.set(key, now());
    } else if (event === "published") router.lastEventAt = now();
    else if (event === "received") builder.lastEventAt = now();
    else if (event === "accepted") {
      acceptedAt = now();
      const canary = canaries.get(stream);
      // What went the whole way since says more than a canary that did not.
      if (canary) canaries.set(stream, withoutLoss(canary));
    }
    if (event === "queued" || event === "accepted" || event === "unwanted") underWay.delete(key);
  }

  function noteError({ code, message, hint, to, stream }: Fields): void {
    if (typeof code !== "string" || typeof message !== "string") return;
    lastError = {
      at: now(),
      code,
      message,
      ...(typeof hint === "string" && { hint }),
      ...(typeof to === "string" && { to }),
      ...(to === "edge" && typeof stream === "string" && { stream }),
    };
  }

  function note(event: string, fields: Fields = {}): void {
    const { stream, seq, builders, ms, where } = fields;
    if (event === "connected") noteLink(fields["to"], true, fields);
    else if (event === "disconnected") noteLink(fields["from"], false, fields);
    else if (event === "audience") set(builder, typeof builders === "number" && builders > 0);
    else if (event === "error") noteError(fields);
    else if (typeof stream !== "string") return;
    else if (event === "canary" && typeof ms === "number") canaries.set(stream, { stream, at: now(), ms });
    else if (event === "canary_lost") {
      const before = canaries.get(stream) ?? { stream };
      canaries.set(stream, { ...before, lostAt: now(), where: String(where) });
    } else noteEvent(event, stream, seq);
  }

  function hops(): HopStatus[] {
    const edge =
      drains.size > 0
        ? [...drains].map(([stream, link]): HopStatus => ({ hop: "edge", stream, ...link }))
        : [{ hop: "edge" as const, ...noDrain }];
    return [...edge, { hop: "router", ...router }, { hop: "builder", ...builder }];
  }

  return {
    note,
    snapshot(queue) {
      const at = now();
      const oldestAt = Math.min(queue?.oldestAt ?? Infinity, ...underWay.values());
      return {
        at,
        startedAt,
        hops: hops(),
        ...(queue && { queue }),
        ...(Number.isFinite(oldestAt) && { oldestAt }),
        ...(acceptedAt !== undefined && { acceptedAt }),
        canaries: [...canaries.values()],
        ...(lastError && { lastError }),
      };
    },
  };
}

function withoutLoss({ stream, at, ms }: CanaryStatus): CanaryStatus {
  return { stream, ...(at !== undefined && { at }), ...(ms !== undefined && { ms }) };
}
