/**
 * The life of an event at the relay as a pure machine: docs/delivery.md has its diagram, and names a test for each
 * transition. What is `held` waits in memory or in the queue, in its place.
 *
 * | state        | input                                | next                                          |
 * |--------------|--------------------------------------|-----------------------------------------------|
 * | `held`       | `start`                              | `publishing`                                  |
 * | `publishing` | `acknowledged`, receipts on          | `published`                                   |
 * | `publishing` | `acknowledged`, receipts off, heard  | `received`                                    |
 * | `publishing` | `acknowledged`, receipts off, unheard| `delayed`                                     |
 * | `publishing` | `rejected` by the router             | `delayed`                                     |
 * | either ¹     | `receipt`                            | `received`                                    |
 * | either ¹     | `refusal`                            | the same, and the time is cut short           |
 * | either ¹     | `timeout`                            | `delayed`; spent if refused, or others passed |
 * | either ¹     | `lost`, once                         | `held`                                        |
 * | either ¹     | `lost`, again over this event        | `delayed`, spent                              |
 * | either ¹     | the last try is spent                | `dead`                                        |
 * | `received`   | `accepted` by the edge               | `done`                                        |
 * | `received`   | `refused` by the edge                | `delayed`; `done` if the edge does not want it |
 * | `delayed`    | `retry`: its time, a builder, a person | `held`                                      |
 * | `dead`       | `retry`: a person, or a builder that misses it | `held`                              |
 *
 * ¹ `publishing` or `published`. Any other input changes nothing.
 */
import type { Tries } from "./queue/queue.ts";

export type Life =
  | { readonly at: "held" }
  | { readonly at: "publishing"; readonly refused?: string }
  | { readonly at: "published"; readonly refused?: string }
  | { readonly at: "received"; readonly receipt: string | undefined }
  | { readonly at: "delayed"; readonly delayMs: number; readonly spent: boolean }
  | { readonly at: "dead"; readonly reason: string }
  | { readonly at: "done" };

export type LifeInput =
  | { readonly type: "start" }
  /** The router has it. `heard`: somebody subscribed to its topic. */
  | { readonly type: "acknowledged"; readonly receipts: boolean; readonly heard: boolean }
  /** The router does not let us publish it. */
  | { readonly type: "rejected" }
  | { readonly type: "receipt"; readonly receipt: string }
  /** A builder cannot take it. */
  | { readonly type: "refusal"; readonly code: string }
  /** The time for a receipt is over. `othersPassed`: events after it on its stream got theirs meanwhile. */
  | { readonly type: "timeout"; readonly othersPassed: boolean }
  /** Session or builder went away. `again`: so did the session before, while this event was published. */
  | { readonly type: "lost"; readonly again: boolean }
  | { readonly type: "accepted" }
  | { readonly type: "refused"; readonly code: string }
  | { readonly type: "retry" };

/** Tries that an event may spend. With the pauses between them: 15 s when it is refused, 150 s in silence. */
export const MAX_SPENT = 5;
/** Milliseconds for a receipt: a builder journals in milliseconds, a round trip through Tor is under a second. */
export const RECEIPT_MS = 10_000;
/** Milliseconds after a builder's first refusal. It said so itself, which costs nobody any waiting. */
const REFUSAL_MS = 1000;
/** Milliseconds after the edge refused a receipt: rarely, since only a wrong key or a lying router leads here. */
const REFUSED_PAUSE_MS = 60_000;
/** Milliseconds: what is not received is published again ever more rarely, at last every five minutes. */
const MAX_PAUSE_MS = 300_000;
/** The edge does not want a receipt of these: the event is unknown to it, or sealed to a key that was taken out. */
const UNWANTED: ReadonlySet<string> = new Set(["ERR_UNKNOWN_EVENT", "ERR_KEY_REVOKED"]);

/** @param tries before this one. */
export function stepLife(life: Life, input: LifeInput, tries: Tries): Life {
  switch (life.at) {
    case "held":
      return input.type === "start" ? { at: "publishing" } : life;
    case "publishing":
    case "published":
      return stepTry(life, input, tries);
    case "received":
      if (input.type === "accepted") return { at: "done" };
      if (input.type !== "refused") return life;
      if (UNWANTED.has(input.code)) return { at: "done" };
      return { at: "delayed", delayMs: REFUSED_PAUSE_MS, spent: false };
    case "delayed":
    case "dead":
      return input.type === "retry" ? { at: "held" } : life;
    case "done":
      return life;
    default:
      return life satisfies never;
  }
}

function stepTry(life: Life & { at: "publishing" | "published" }, input: LifeInput, tries: Tries): Life {
  const pause = (spent: boolean, reason: string): Life => {
    if (spent && tries.spent + 1 >= MAX_SPENT) return { at: "dead", reason };
    const firstMs = life.refused === undefined ? RECEIPT_MS : REFUSAL_MS;
    const delayMs = Math.min(MAX_PAUSE_MS, firstMs * 2 ** Math.min(tries.started, 8));
    return { at: "delayed", delayMs, spent };
  };
  switch (input.type) {
    case "acknowledged":
      if (life.at === "published") return life;
      if (input.receipts) return { ...life, at: "published" };
      return input.heard ? { at: "received", receipt: undefined } : pause(false, "");
    case "rejected":
      return pause(false, "");
    case "receipt":
      return { at: "received", receipt: input.receipt };
    case "refusal":
      return { ...life, refused: input.code };
    case "timeout":
      return pause(life.refused !== undefined || input.othersPassed, life.refused ?? "ERR_NO_RECEIPT");
    case "lost":
      return input.again ? pause(true, "ERR_SESSION_BREAKS") : { at: "held" };
    case "start":
    case "accepted":
    case "refused":
    case "retry":
      return life;
    default:
      return input satisfies never;
  }
}
