/**
 * The queue `deliveries`: what the relay has taken from the edge and not yet delivered. This file is
 * the port; `queue-open.ts` opens one. Every adapter passes `test/relay/queue.contract.ts`.
 *
 * ```
 *             add            resume, first come first started        received
 *   (nothing) ───▶ waiting ─────────────────────────────▶ in hand ──────────▶ received ── remove ──▶ (nothing)
 *                    ▲  ▲                                 │  │  ▲                 │
 *                    │  └── delay over, or promote ── later  │  └ unavailable     │
 *                    └────────── close ──────────────────────┘    (in its place)  │
 *                    ▲                                                            │
 *                    └────────────────────────── requeue ─────────────────────────┘
 * ```
 *
 * No outcome spends an attempt and nothing is ever given up: the edge's outbox is the source of truth,
 * and only `remove` forgets an event. An event may be handed out twice (a process died, a store was
 * away for longer than a lock lasts): builders answer a duplicate with its receipt again.
 */

/** One sealed event as the edge's outbox numbered it. */
export interface QueuedEvent {
  /** Matches `/^[a-z][a-z0-9-]*$/`. */
  readonly stream: string;
  readonly seq: number;
  readonly topic: string;
  /** The delivery's GUID. */
  readonly delivery: string;
  /** At most a sealed body of 25 MiB with its padding. */
  readonly sealed: Uint8Array;
}

/** Which event: what is said of it where its bytes are not needed. */
export type EventName = Pick<QueuedEvent, "stream" | "seq" | "delivery">;

/** What became of one try to publish an event. */
export type Outcome =
  /** The builder's sealed receipt, base64. The event is complete and keeps it until `remove`. */
  | { readonly kind: "received"; readonly receipt: string }
  /**
   * Router, Tor or builder are away, which is not the event's fault. It keeps its place: it is the first to
   * be started again, at `resume`, or after a short breath when the queue is not paused.
   */
  | { readonly kind: "unavailable" }
  /** Published, but no receipt came: again after `delayMs`. Others may overtake it. */
  | { readonly kind: "later"; readonly delayMs: number };

/** What `add` found. `held` is waiting, in hand, or waiting for its time. */
export type Added =
  | { readonly state: "added" }
  | { readonly state: "held" }
  | { readonly state: "received"; readonly receipt: string };

/**
 * Publishes one event. `tries` is how often this event was handed out before, at least. Throwing counts
 * as `later` with capped exponential backoff, and the error's code is reported.
 */
export type Handler = (event: QueuedEvent, tries: number) => Promise<Outcome>;

/** Told when a receipt is stored, before `remove`. Must not throw. */
export type OnReceived = (event: EventName, receipt: string) => void;

/**
 * All methods but `process`, `pause` and `resume` reject with an {@link OnionhookError},
 * `ERR_QUEUE_UNREACHABLE` or `ERR_QUEUE_STORE`, retryable, while the store is away. What is held waits,
 * an outage is reported once (`error`), and work goes on by itself when the store is back.
 */
export interface DeliveryQueue {
  /** Resolves once durable. Adding what is there changes nothing. */
  add(event: QueuedEvent): Promise<Added>;
  /**
   * Names the handler, once. Events start in the order in which they were added, at most `concurrency` at
   * a time, and none before the first `resume`.
   */
  process(handler: Handler, onReceived: OnReceived, onRecovered?: () => void): void;
  /** No event is started after this resolves; those in hand go on. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Every event that waits for its time is ready now. */
  promote(): Promise<void>;
  /** Every event that is received and not yet removed. */
  received(): Promise<{ stream: string; seq: number; receipt: string }[]>;
  /** Forgets an event: the edge accepted its receipt. Removing what is not there changes nothing. */
  remove(stream: string, seq: number): Promise<void>;
  /** The edge refused the receipt: a received event waits again, for at least `delayMs`. No other event changes. */
  requeue(stream: string, seq: number, delayMs: number): Promise<void>;
  /** Waits for what is in hand, puts the rest back in its place, and leaves nothing running; at most 10 s. */
  close(): Promise<void>;
}
