import { evictDurableObject, reset, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { HEARTBEAT } from "../../../shared/drain.ts";
import { until } from "../../helpers/until.ts";
import { alarmIn, letPass, untilAlarm } from "../clock.ts";
import { deliver } from "../deliver.ts";
import { meter } from "../meter.ts";
import { receiptFor } from "../receipts.ts";
import { hello, RelaySocket, WELCOME } from "../relay-socket.ts";
import { outbox, storedEvents } from "../stored.ts";

const PROVE_MS = 9000;
const MAX_UNPROVEN = 1000;

beforeEach(() => {
  vi.spyOn(console, "log").mockImplementation(() => {});
});

afterEach(async () => {
  vi.restoreAllMocks();
  await reset();
});

describe("a socket that proves nothing", () => {
  it("is closed with 4408 within ten seconds, by the alarm, and one that is proven is not", async () => {
    const silent = await RelaySocket.dial();
    const relay = await RelaySocket.open();
    expect(await alarmIn()).toBeLessThanOrEqual(PROVE_MS);
    letPass(PROVE_MS - 1000);
    await runDurableObjectAlarm(outbox());
    silent.sendRaw(HEARTBEAT);
    await silent.challenge();
    expect(await silent.message()).toEqual({ type: "pong" });
    letPass(2000);
    await runDurableObjectAlarm(outbox());
    expect(await silent.closed).toEqual({ code: 4408, reason: "not proven in time" });
    expect(await relay.isQuiet()).toBe(true);
  });

  it("is closed though the object hibernated meanwhile", async () => {
    const silent = await RelaySocket.dial();
    await evictDurableObject(outbox());
    await untilAlarm();
    expect((await silent.closed).code).toBe(4408);
  });

  it("that came later is closed later", async () => {
    const first = await RelaySocket.dial();
    letPass(5000);
    const second = await RelaySocket.dial();
    await untilAlarm();
    expect((await first.closed).code).toBe(4408);
    second.send(hello(await second.challenge()));
    expect(await second.message()).toEqual(WELCOME);
  });
});

describe("a flood of sockets that prove nothing", () => {
  it("takes anybody's place with each beyond a thousand, not the oldest's, and a relay still gets in and drains", async () => {
    await deliver();
    const before = await RelaySocket.open();
    const [event] = await before.drain(1);
    const counted = await runInDurableObject(outbox(), (_object, { storage }) => meter(storage));
    // However slow the machine: none is closed because its time is over.
    vi.spyOn(await storagePrototype(), "setAlarm").mockResolvedValue();
    const flood: RelaySocket[] = [];
    const closed: { index: number; code: number; reason: string }[] = [];
    for (let index = 0; index < MAX_UNPROVEN + 3; index += 1) {
      letPass(1);
      const socket = await RelaySocket.dial();
      flood.push(socket);
      void socket.closed.then(({ code, reason }) => closed.push({ index, code, reason }));
    }
    await until(() => expect(closed).toHaveLength(3));
    for (const each of closed) expect(each).toMatchObject({ code: 4429, reason: "too many sockets wait" });
    // Once in 10⁸ times they would be.
    expect(closed.map(({ index }) => index).toSorted((a, b) => a - b)).not.toEqual([0, 1, 2]);

    expect(await before.done(1, receiptFor(event))).toEqual({ type: "accepted", seq: 1 });
    await deliver();
    expect((await before.event()).seq).toBe(2);
    const after = await RelaySocket.open("relay-two");
    await until(() => expect(closed).toHaveLength(4));
    after.send({ type: "credit", events: 1 });
    await deliver();
    expect((await after.event()).seq).toBe(3);
    // All that was written is what these three deliveries cost; the flood armed no alarm but the first's.
    expect(counted.rowsWritten()).toBeLessThanOrEqual(3 * 6 + 5);
    expect(counted.alarms()).toBeLessThanOrEqual(3);
  }, 30_000);

  it("that goes on costs an alarm a second at most, not one for each socket", async () => {
    const counted = await runInDurableObject(outbox(), (_object, { storage }) => meter(storage));
    const seconds = 4;
    for (let dialled = 0; dialled < 100; dialled += 1) {
      await RelaySocket.dial();
      letPass((seconds * 1000) / 100);
    }
    for (let rung = 0; (await alarmIn()) !== undefined; rung += 1) {
      expect(rung).toBeLessThanOrEqual(100);
      await untilAlarm();
    }
    expect(counted.alarms()).toBeLessThanOrEqual(seconds + 2);
    expect(counted.rowsWritten()).toBe(0);
  }, 30_000);
});

describe("a heartbeat", () => {
  it("is answered without waking the object, and says when the relay was heard", async () => {
    const relay = await RelaySocket.open();
    await evictDurableObject(outbox());
    // Whatever object is constructed asks its storage for the alarm first.
    const woken = vi.spyOn(await storagePrototype(), "getAlarm");
    await evictDurableObject(outbox());
    for (let beats = 0; beats < 3; beats += 1) {
      relay.sendRaw(HEARTBEAT);
      expect(await relay.message()).toEqual({ type: "pong" });
    }
    expect(woken).not.toHaveBeenCalled();
    const heardAt = await runInDurableObject(outbox(), (_object, state) =>
      state.getWebSockets().map((socket) => state.getWebSocketAutoResponseTimestamp(socket)?.getTime()),
    );
    expect(woken).toHaveBeenCalled();
    expect(heardAt).toEqual([expect.closeTo(Date.now(), -4)]);
    expect(await storedEvents()).toEqual([]);
  });
});

function storagePrototype(): Promise<DurableObjectStorage> {
  return runInDurableObject(
    outbox(),
    (_object, { storage }) => Object.getPrototypeOf(storage) as DurableObjectStorage,
  );
}
