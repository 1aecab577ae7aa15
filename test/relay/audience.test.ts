/** A router that says more than it is asked, and answers when the test says: a real one cannot be made to. */
import { describe, expect, it, vi } from "vitest";
import { watchAudience } from "../../relay/audience.ts";
import { OnionhookError } from "../../shared/errors.ts";
import type { WampEvent, WampSession } from "../../shared/wamp/session.ts";

const EVENT: WampEvent = { topic: "wamp.subscription", passthru: undefined, args: [], kwargs: {} };
const TIMEOUT = new OnionhookError("ERR_WAMP_TIMEOUT", "no answer to call", { retryable: true });

async function watched() {
  const handlers = new Map<string, (event: WampEvent) => void>();
  let failure: OnionhookError | undefined;
  const { promise: answering, resolve: answer } = Promise.withResolvers<void>();
  let isSilent = false;
  const call = vi.fn<WampSession["call"]>(async (procedure) => {
    if (isSilent) await answering;
    if (failure) throw failure;
    return procedure.endsWith("lookup") ? 17 : [1];
  });
  const close = vi.fn<WampSession["close"]>(async () => {});
  const session: WampSession = {
    publish: async () => {},
    async subscribe(topic, _match, handler) {
      handlers.set(topic, handler);
    },
    call,
    register: async () => {},
    closed: new Promise(() => {}),
    close,
  };
  const changes: boolean[] = [];
  const report = vi.fn<(event: string) => void>();
  await watchAudience(session, (_audience, cameOne) => void changes.push(cameOne), report);
  isSilent = true;
  return {
    say: (what: string) => handlers.get(`wamp.subscription.${what}`)?.(EVENT),
    answer(now?: OnionhookError) {
      failure = now;
      answer();
    },
    call,
    close,
    changes,
    report,
  };
}

describe("of who listens", () => {
  it("one check is under way and one waits, however often the router says that it changed", async () => {
    const { say, answer, call, changes } = await watched();
    const before = call.mock.calls.length;
    for (let times = 0; times < 1000; times += 1) say(times === 500 ? "on_create" : "on_delete");
    answer();
    await vi.waitFor(() => expect(changes).toEqual([true, false, true]));
    // A lookup and a list of subscribers, for those that get everything and those that share.
    expect(call.mock.calls.length - before).toBe(2 * 4);
    say("on_delete");
    await vi.waitFor(() => expect(changes).toEqual([true, false, true, false]));
  });

  it("a check that fails is reported once, and ends the session once", async () => {
    const { say, answer, call, changes, close, report } = await watched();
    const before = call.mock.calls.length;
    for (let times = 0; times < 1000; times += 1) say("on_delete");
    answer(TIMEOUT);
    await vi.waitFor(() => expect(close).toHaveBeenCalled());
    for (let times = 0; times < 1000; times += 1) say("on_delete");
    await new Promise((resolve) => setImmediate(resolve));
    expect([close, report].map(({ mock }) => mock.calls.length)).toEqual([1, 1]);
    expect(call.mock.calls.length - before).toBe(1);
    expect(changes).toEqual([true]);
  });
});
