/** What a delivery queue does beyond `queue.contract.ts` in a store that several relays share. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { until } from "../../helpers/until.ts";
import { holdAndKill, addAll, closeAll, event, put, range, receive, watch, type Place } from "./watch.ts";

/** A store's server, as far as it can be taken away. */
export interface Server {
  kill(): Promise<void>;
  restart(): Promise<void>;
}

/** What only stores do that other processes share and that can go away. */
export function sharedContract(newPlace: () => Promise<Place>, server: () => Server): void {
  afterEach(closeAll);

  test("each event is handed out once, and goes on when the other closes", async () => {
    const place = await newPlace();
    const one = await watch(place, 2, receive);
    const two = await watch(place, 2, receive);
    await Promise.all([one.queue.resume(), two.queue.resume()]);
    await Promise.all([addAll(one.queue, 1, 20), addAll(two.queue, 21, 40)]);
    await until(() => expect(one.received.length + two.received.length).toBe(40));
    const started = [...one.started, ...two.started].toSorted((a, b) => a - b);
    expect(started).toEqual(range(1, 40));
    await one.queue.close();
    await put(two.queue, event(41));
    await until(() => expect(two.started.at(-1)).toBe(41));
  });

  test("what a paused relay has in hand and cannot deliver goes to the other, in order", async () => {
    const place = await newPlace();
    const cut = await watch(place, 4, async ({ seq }) => {
      await sleep(200 + ((seq * 7) % 20));
      return { kind: "unavailable" };
    });
    await addAll(cut.queue, 1, 10);
    await cut.queue.resume();
    await until(() => expect(cut.started).toEqual([1, 2, 3, 4]));
    await cut.queue.pause();
    await sleep(500);
    const other = await watch(place, 1, receive);
    await other.queue.resume();
    await until(() => expect(other.started).toEqual(range(1, 10)));
  });

  test("a killed process leaves its events to the others within 10 s", async () => {
    const place = await newPlace();
    const killed = await holdAndKill(place);
    const { queue, started } = await watch(place, 1, receive);
    await queue.resume();
    await until(() => expect(started.toSorted((a, b) => a - b)).toEqual(range(1, 6)));
    expect(Date.now() - killed).toBeLessThan(10_500);
    expect(started.slice(0, 3), "those that nobody had in hand").toEqual([4, 5, 6]);
  }, 30_000);

  test("while the store is away, one error is told, adding fails clearly, and all goes on by itself", async () => {
    const gate = Promise.withResolvers<void>();
    const { queue, started, received, reports } = await watch(await newPlace(), 1, async (given, tries) => {
      await gate.promise;
      return receive(given, tries);
    });
    await addAll(queue, 1, 5);
    await queue.resume();
    await until(() => expect(started).toEqual([1]));
    await server().kill();
    gate.resolve();
    await expect(put(queue, event(6))).rejects.toMatchObject({
      code: "ERR_QUEUE_UNREACHABLE",
      retryable: true,
    });
    await sleep(2500);
    await expect(put(queue, event(6))).rejects.toMatchObject({ code: "ERR_QUEUE_UNREACHABLE" });
    expect(reports.map(([name, fields]) => [name, fields?.["code"]])).toEqual([
      ["error", "ERR_QUEUE_UNREACHABLE"],
    ]);
    await server().restart();
    await until(async () => expect(await put(queue, event(6))).toEqual({ state: "added" }));
    await until(() => expect(received.map(([seq]) => seq)).toEqual(range(1, 6)));
  }, 60_000);

  test("while the store is away, every call that needs it fails clearly, none unhandled", async () => {
    const { queue } = await watch(await newPlace(), 1, receive);
    await addAll(queue, 1, 2);
    const calls: Record<string, () => Promise<unknown>> = {
      remove: () => queue.remove("a-stream", 1),
      received: () => queue.received(),
      requeue: () => queue.requeue("a-stream", 1, 0),
      retry: () => queue.retry("a-stream", 1),
      promote: () => queue.promote(),
      counts: () => queue.counts(),
      list: () => queue.list("waiting", 10),
      find: () => queue.find("a-stream", 1),
    };
    await server().kill();
    for (const [name, call] of Object.entries(calls))
      await expect(call(), name).rejects.toMatchObject({ code: "ERR_QUEUE_UNREACHABLE", retryable: true });
    await closeAll();
    await server().restart();
  }, 60_000);

  test("closing while the store is away is bounded", async () => {
    const { queue } = await watch(await newPlace(), 1, async () => ({ kind: "unavailable" }));
    await put(queue, event(1));
    await queue.resume();
    await server().kill();
    const before = Date.now();
    await closeAll();
    expect(Date.now() - before).toBeLessThan(10_000);
    await server().restart();
  }, 30_000);
}
