/** Sends as GitHub does: a ref's pushes one after the other, several refs at a time, again until taken. */
import { setTimeout as sleep } from "node:timers/promises";
import { post } from "../../cli/send.ts";
import type { SentDelivery } from "./ledger.ts";
import type { Pace } from "./pace.ts";
import { bodyOf, laneOf, type Push, sha256 } from "./pushes.ts";

export interface Sender {
  /** Those that were begun, in order within their lanes. */
  readonly sent: readonly SentDelivery[];
  /** How many of them the edge has taken. */
  taken(): number;
  isOver(): boolean;
  /** Resolves when everything was taken; rejects at the signal. */
  readonly ended: Promise<void>;
}

const RETRY_MS = 200;
/** Milliseconds between looks at the pace. */
const ROOM_MS = 20;

export function startSender(
  pushes: readonly Push[],
  { webhook, secret }: { webhook: string; secret: string },
  pace: Pace,
  signal: AbortSignal,
): Sender {
  const sent: SentDelivery[] = [];
  let taken = 0;
  let isOver = false;

  async function deliver(lane: string, push: Push): Promise<void> {
    while (sent.length >= pace.allowed()) await sleep(ROOM_MS, undefined, { signal });
    const body = bodyOf(push);
    const { delivery } = push;
    const record: SentDelivery = { delivery, lane, sha256: sha256(body), tries: 0, isTaken: false };
    sent.push(record);
    for (;;) {
      record.tries += 1;
      signal.throwIfAborted();
      const answer = await post(webhook, secret, "push", body, delivery).catch(() => undefined);
      if (answer?.status === 202) {
        record.isTaken = true;
        taken += 1;
        return;
      }
      await sleep(RETRY_MS, undefined, { signal });
    }
  }

  const lanes = [...Map.groupBy(pushes, laneOf)].map(async ([lane, ofLane]) => {
    for (const push of ofLane) await deliver(lane, push);
  });
  const ended = Promise.all(lanes).then(() => {
    isOver = true;
  });
  // Whoever waits for it hears of it; until then it must not end the process.
  ended.catch(() => {});
  return { sent, taken: () => taken, isOver: () => isOver, ended };
}
