/** What waits for the router's answer. */
import { OnionhookError } from "../errors.ts";
import type { Sender } from "./sender.ts";

/** For HELLO to WELCOME, and for every request. Through an onion service a round trip takes under a second. */
const ANSWER_MS = 20_000;

export function lost(): OnionhookError {
  return new OnionhookError("ERR_WAMP_LOST", "the session ended before the answer", { retryable: true });
}

/**
 * Ends every request that is still open when the session is over, or when its time is: a small one may wait behind
 * megabytes. The request has been sent when this is called.
 */
export function makeRequests(closed: Promise<void>, sender: Sender) {
  const open = new Set<(error: OnionhookError) => void>();
  let over = false;
  void closed.then(() => {
    over = true;
    for (const reject of open) reject(lost());
  });
  return async <Answer>(
    what: string,
    answer: Promise<Answer>,
    onTimeout: () => void = () => {},
  ): Promise<Answer> => {
    const limitMs = Math.round(ANSWER_MS + sender.leftMs());
    const sent = sender.sent();
    const onAnswer = () => sender.arrived(sent);
    answer.then(onAnswer, onAnswer);
    const { promise: ended, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      reject(
        new OnionhookError("ERR_WAMP_TIMEOUT", `no answer to ${what} in ${limitMs} ms`, {
          retryable: true,
        }),
      );
      onTimeout();
    }, limitMs);
    open.add(reject);
    if (over) reject(lost());
    try {
      return await Promise.race([answer, ended]);
    } finally {
      open.delete(reject);
      clearTimeout(timer);
    }
  };
}
