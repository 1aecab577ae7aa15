import { evictDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { formatKey } from "../../shared/keys.ts";
import { alarmIn, letPass, untilAlarm } from "./clock.ts";
import { configure } from "./configure.ts";
import { deliver } from "./deliver.ts";
import { bindings, stranger } from "./parties.ts";
import { eachPrinted } from "./printed.ts";
import { receiptFor } from "./receipts.ts";
import { RelaySocket } from "./relay-socket.ts";
import { outbox } from "./stored.ts";

const HOUR_MS = 60 * 60 * 1000;
const strangeKey = formatKey("box", "public", stranger.publicKey);

const printed = eachPrinted();

describe("what nobody fetches", () => {
  it("is reported after an hour, and then once an hour", async () => {
    await deliver();
    await deliver();
    expect(await alarmIn()).toBeLessThanOrEqual(HOUR_MS);
    letPass(HOUR_MS + 1000);
    await untilAlarm();
    expect(waiting()).toHaveLength(1);
    for (let hours = 2; hours <= 3; hours += 1) {
      expect(await untilAlarm()).toBeGreaterThan(HOUR_MS - 60_000);
      expect(waiting()).toHaveLength(hours);
    }
    const said = { event: "waiting", at: expect.any(Number), stream: "builder", events: 2, unreachable: 0 };
    for (const each of waiting()) expect(each).toEqual(said);
  });

  it("is reported though the object was started anew meanwhile", async () => {
    await deliver();
    await evictDurableObject(outbox());
    letPass(HOUR_MS + 1000);
    await untilAlarm();
    expect(waiting()).toMatchObject([{ events: 1, unreachable: 0 }]);
  });

  it("is counted apart where it is sealed to a key that was taken out", async () => {
    await deliver();
    await configure({
      RECIPIENTS: { builder: { box_public: [strangeKey, bindings.RECIPIENTS.builder.box_public] } },
    });
    await evictDurableObject(outbox());
    await deliver();
    await deliver();
    await configure({ RECIPIENTS: { builder: { box_public: strangeKey } } });
    await evictDurableObject(outbox());
    letPass(HOUR_MS + 1000);
    await untilAlarm();
    expect(waiting()).toMatchObject([{ events: 3, unreachable: 1 }]);
  });

  it("is only what is undone for an hour: what came since is not counted", async () => {
    await deliver();
    letPass(HOUR_MS / 2);
    await deliver();
    letPass(HOUR_MS / 2 + 1000);
    await untilAlarm();
    expect(waiting()).toMatchObject([{ events: 1 }]);
  });
});

describe("a stream of which all is done", () => {
  it("reports nothing, and its alarm is armed no more", async () => {
    await deliver();
    const relay = await RelaySocket.open();
    const [event] = await relay.drain(1);
    await relay.done(1, receiptFor(event));
    await relay.leave();
    for (let rung = 0; (await alarmIn()) !== undefined; rung += 1) {
      expect(rung).toBeLessThan(5);
      await untilAlarm();
    }
    expect(waiting()).toEqual([]);
  });

  it("never had one when nothing came", async () => {
    expect(await alarmIn()).toBeUndefined();
  });
});

function waiting(): unknown[] {
  return printed
    .map((line) => JSON.parse(line) as { event: string })
    .filter(({ event }) => event === "waiting");
}
