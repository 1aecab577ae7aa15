/** Deliveries of a bench: sends them over kept connections, and keeps when each came by which hop. */
import { createHmac, randomUUID } from "node:crypto";
import { Agent, request } from "node:http";
import { nowMs } from "../cli/output.ts";
import { encodeUtf8 } from "../shared/bytes.ts";
import type { Stage } from "./stage.ts";

export const BODY_BYTES = 8 * 1024;

/** The events of a delivery's way, in order. A receipt may overtake the router's acknowledgement, `published`. */
export const HOPS = ["received", "stored", "drained", "published", "opened", "done"] as const;
export type Hop = (typeof HOPS)[number];

/** When a delivery was sent, and when it came by each hop first; milliseconds since 1970, the edge's in whole ones. */
export type Way = { sent: number } & Partial<Record<Hop, number>>;

export interface Ledger {
  readonly ways: readonly Way[];
  /** Sends one; resolves with its way when the edge has it. */
  send(): Promise<Way>;
  /** Sends one; resolves, when the builder has it, with the milliseconds that took. */
  deliver(): Promise<number>;
  /** How many deliveries have come by a hop. */
  count(hop: Hop): number;
  /** Resolves when so many have. */
  until(hop: Hop, count: number): Promise<void>;
  /** How many were opened more than once. */
  twice(): number;
  /** The agent's connections are closed, and nothing is heard any more. */
  close(): void;
}

/** Keeps the book of what it sends itself; other deliveries are ignored. */
export function openLedger(stage: Stage): Ledger {
  const { post, close } = makePoster(stage.ready.webhook, stage.secret);
  const ways = new Map<string, Way>();
  const counts = new Map<Hop, number>();
  const twice = new Set<string>();
  const opening = new Map<string, () => void>();
  const waiting = new Set<{ hop: Hop; count: number; resolve: () => void }>();
  const countOf = (hop: Hop) => counts.get(hop) ?? 0;

  const stopHearing = stage.hear(({ event, at, delivery }) => {
    const hop = HOPS.find((each) => each === event);
    const way = ways.get(String(delivery));
    if (hop === undefined || way === undefined) return;
    if (way[hop] !== undefined) {
      if (hop === "opened") twice.add(String(delivery));
      return;
    }
    way[hop] = at;
    counts.set(hop, countOf(hop) + 1);
    if (hop === "opened") opening.get(String(delivery))?.();
    for (const waiter of waiting) {
      if (waiter.hop !== hop || countOf(hop) < waiter.count) continue;
      waiting.delete(waiter);
      waiter.resolve();
    }
  });

  async function send(delivery: string = randomUUID()): Promise<Way> {
    const body = freshBody();
    const way: Way = { sent: nowMs() };
    ways.set(delivery, way);
    await post(body, delivery);
    return way;
  }

  return {
    get ways() {
      return [...ways.values()];
    },
    send: () => send(),
    async deliver() {
      const delivery = randomUUID();
      const { promise: opened, resolve } = Promise.withResolvers<void>();
      opening.set(delivery, resolve);
      const way = await send(delivery);
      await opened;
      opening.delete(delivery);
      return (way.opened ?? NaN) - way.sent;
    },
    count: countOf,
    until(hop, count) {
      if (countOf(hop) >= count) return Promise.resolve();
      return new Promise((resolve) => waiting.add({ hop, count, resolve }));
    },
    twice: () => twice.size,
    close() {
      stopHearing();
      close();
    },
  };
}

/** Each is another: the same body again would be a duplicate. */
export function freshBody(): Uint8Array {
  return encodeUtf8(
    JSON.stringify({ ref: "refs/heads/main", after: randomUUID(), padding: "x".repeat(BODY_BYTES - 85) }),
  );
}

export interface Poster {
  /** Rejects unless the answer is 202. */
  post(body: Uint8Array, delivery: string): Promise<void>;
  close(): void;
}

/** Posts as GitHub does, over connections that stay open: `fetch` takes twice the CPU, which is the parts' too. */
export function makePoster(url: string, secret: string): Poster {
  const agent = new Agent({ keepAlive: true });
  return {
    post: (body, delivery) =>
      new Promise((resolve, reject) => {
        const signature = createHmac("sha256", secret).update(body).digest("hex");
        const headers = {
          "Content-Type": "application/json",
          "Content-Length": body.length,
          "X-GitHub-Delivery": delivery,
          "X-GitHub-Event": "push",
          "X-GitHub-Hook-ID": "1",
          "X-Hub-Signature-256": `sha256=${signature}`,
        };
        const sent = request(url, { method: "POST", agent, headers }, (response) => {
          response.resume().once("end", () => {
            if (response.statusCode === 202) resolve();
            else reject(new Error(`${url} answered ${response.statusCode}`));
          });
        });
        sent.once("error", reject);
        sent.end(body);
      }),
    close: () => agent.destroy(),
  };
}
