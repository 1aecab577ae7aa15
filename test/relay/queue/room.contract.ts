/** How much the queue holds. Part of `queue.contract.ts`. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { until } from "../../helpers/until.ts";
import { closeAll, event, put, receive, watch, type Place } from "./watch.ts";

/** The size of each event here, of which {@link MAX_BYTES} is four. */
const BYTES = 100_000;
const MAX_BYTES = 400_000;

export function roomContract(newPlace: () => Promise<Place>): void {
  const large = (seq: number) => event(seq, Buffer.alloc(BYTES, seq));

  test("a full queue lets nobody add, says so once, and goes on when there is room, also after a restart", async () => {
    const place = await newPlace();
    const first = await watch(place, 1, receive, MAX_BYTES);
    await first.queue.add([1, 2, 3, 4].map(large));
    await closeAll();

    const { queue, received, reports } = await watch(place, 1, receive, MAX_BYTES);
    expect(await put(queue, large(2)), "what is there needs no room").toEqual({ state: "held" });
    let added = 0;
    const adding = [5, 6].map(async (seq) => {
      await put(queue, large(seq));
      added += 1;
    });
    await until(() => expect(reports).toHaveLength(1));
    await sleep(300);
    expect(added).toBe(0);
    expect(reports.map(([name, fields]) => [name, fields?.["code"]])).toEqual([["error", "ERR_QUEUE_FULL"]]);
    await queue.resume();
    await until(() => expect(received).toHaveLength(4));
    expect(added, "a received event takes room until it is removed").toBe(0);
    await Promise.all([1, 2, 3].map((seq) => queue.remove("a-stream", seq)));
    await Promise.all(adding);
    await until(() => expect(received).toHaveLength(6));
    expect(reports).toHaveLength(1);
  });

  test("closing a full queue ends those who wait to add", async () => {
    const { queue } = await watch(await newPlace(), 1, receive, MAX_BYTES);
    await queue.add([1, 2, 3, 4].map(large));
    const adding = expect(put(queue, large(5))).rejects.toMatchObject({
      code: "ERR_QUEUE_UNREACHABLE",
      retryable: true,
    });
    await sleep(100);
    await closeAll();
    await adding;
  });
}
