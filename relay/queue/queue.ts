/**
 * The queue `deliveries`: what the relay has taken from the edge and could not deliver at once. This file is
 * the port; `open.ts` opens one. Every adapter passes `test/relay/queue/queue.contract.ts`. The states are those of
 * docs/delivery.md.
 *
 * ```
 *             add            resume, first come first started        received
 *   (nothing) ───▶ waiting ─────────────────────────────▶ in hand ──────────▶ received ── remove ──▶ (nothing)
 *                    ▲  ▲                                 │ │ │  ▲                 │
 *                    │  └─ delay over, promote ── delayed ◀─┘ │ │  └ unavailable   │
 *                    │  └─ retry ──────────────── dead ◀──────┘ │    (in its place)│
 *                    └────────── close ──────────────────────────┘                 │
 *                    └────────────────────── requeue, retry ───────────────────────┘
 * ```
 *
 * Nothing is ever given up: the edge's outbox is the source of truth, and only `remove` forgets an event. An event may
 * be handed out twice (a process died, a store was away for longer than a lock lasts): builders answer a duplicate
 * with its receipt again.
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

/** How often an event was tried. */
export interface Tries {
  /** How often it was handed out before, at least. */
  readonly started: number;
  /** How many of these tries the event itself has to answer for. */
  readonly spent: number;
}

/** What became of one try to publish an event. */
export type Outcome =
  /** A builder has it: its sealed receipt, base64, or none where none are given. It is kept until `remove`. */
  | { readonly kind: "received"; readonly receipt: string | undefined }
  /**
   * Router, Tor or builder are away, which is not the event's fault. It keeps its place: it is the first to
   * be started again, at `resume`, or after a short breath when the queue is not paused.
   */
  | { readonly kind: "unavailable" }
  /** Published, but not received: again after `delayMs`. Others may overtake it. `spent`: this try counts. */
  | { readonly kind: "later"; readonly delayMs: number; readonly spent: boolean }
  /** It used up its tries: kept, shown, and started again by `retry` only. `reason`: an error's code. */
  | { readonly kind: "dead"; readonly reason: string };

/** What `add` found. `held` is waiting, in hand, delayed or dead. */
export type Added =
  | { readonly state: "added" }
  | { readonly state: "held" }
  | { readonly state: "received"; readonly receipt: string | undefined };

export const QUEUE_STATES = ["waiting", "in hand", "delayed", "received", "dead"] as const;

export type QueueState = (typeof QUEUE_STATES)[number];

/** An event in the queue, without its bytes. */
export interface HeldEvent extends Omit<QueuedEvent, "sealed"> {
  readonly state: QueueState;
  /** Size of the sealed bytes. */
  readonly bytes: number;
  /** When it was added; ms since 1970, as below. */
  readonly addedAt: number;
  readonly tries: Tries;
  /** When it is started again; of a delayed event only. */
  readonly dueAt?: number;
  /** Why it is dead. */
  readonly reason?: string;
}

/**
 * Publishes one event. Throwing counts as `later`, not spent, with capped exponential backoff, and the error's code
 * is reported.
 */
export type Handler = (event: QueuedEvent, tries: Tries) => Promise<Outcome>;

/** Told when `received` is stored, before `remove`. Must not throw. */
export type OnReceived = (event: EventName, receipt: string | undefined) => void;

/** What else a queue tells. Must not throw. */
export interface QueueListeners {
  /** The store answers again after an outage that was told. */
  readonly onRecovered?: () => void;
  /** Each time that nothing is ahead of a stream's next event any more: {@link DeliveryQueue.isIdle}. */
  readonly onIdle?: () => void;
}

/**
 * All methods but `process`, `pause` and `resume` reject with an {@link OnionhookError},
 * `ERR_QUEUE_UNREACHABLE` or `ERR_QUEUE_STORE`, retryable, while the store is away. What is held waits,
 * an outage is reported once (`error`), and work goes on by itself when the store is back.
 */
export interface DeliveryQueue {
  /**
   * Resolves once all of them are durable, in the order of `events`, which are of one stream. Adding what is there
   * changes nothing. While the queue holds `maxBytes` or more, or its store has no room, which is reported once, this waits
   * for some seconds and then rejects with `ERR_QUEUE_FULL`, retryable.
   */
  add(events: readonly QueuedEvent[]): Promise<Added[]>;
  /**
   * Names the handler, once. Events start in the order in which they were added, at most `concurrency` at
   * a time, and none before the first `resume`.
   */
  process(handler: Handler, onReceived: OnReceived, listeners?: QueueListeners): void;
  /**
   * Whether an event of this stream that comes now would overtake none, as far as this process knows. Those that were
   * delayed, dead or received do not count, also when they are tried again, unless `promote` made them ready: they may
   * be overtaken.
   */
  isIdle(stream: string): boolean;
  /** No event is started after this resolves; those in hand go on. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Every event that is delayed is ready now, those of a stream in the order of their numbers. */
  promote(): Promise<void>;
  /** Every event that is received and not yet removed. */
  received(): Promise<{ stream: string; seq: number; receipt: string | undefined }[]>;
  /**
   * Forgets an event: the edge accepted its receipt. Removing what is not there changes nothing, and costs nothing where
   * neither this process nor its store at the start had the event.
   */
  remove(stream: string, seq: number): Promise<void>;
  /** The edge refused the receipt: a received event waits again, for at least `delayMs`. No other event changes. */
  requeue(stream: string, seq: number, delayMs: number): Promise<void>;
  /**
   * A dead, delayed or received event is ready now, its spent tries forgotten; one that is waiting or in hand stays as
   * it is. Whether there is such an event.
   */
  retry(stream: string, seq: number): Promise<boolean>;
  /** How many events are in each state. */
  counts(): Promise<Record<QueueState, number>>;
  /** The events in one state, the oldest first. */
  list(state: QueueState, limit: number): Promise<HeldEvent[]>;
  /** The event of this number, if it is here. */
  find(stream: string, seq: number): Promise<HeldEvent | undefined>;
  /** Waits for what is in hand, puts the rest back in its place, and leaves nothing running; at most 10 s. */
  close(): Promise<void>;
}
