import { describe, expect, it } from "vitest";
import type { SerializerId } from "../../shared/wamp/serializers.ts";
import { until } from "../helpers/until.ts";
import { bytes, type RawClient } from "./raw-client.ts";
import { EVERYTHING, startTestbed } from "./testbed.ts";

const sealed = Uint8Array.from({ length: 100 }, (_, index) => 255 - index);
const ids: SerializerId[] = ["json", "msgpack", "cbor"];

async function register(callee: RawClient, procedure = "webhook.replay"): Promise<unknown> {
  const [type, request, registration] = await callee.ask([64, 1, {}, procedure]);
  expect([type, request]).toEqual([65, 1]);
  return registration;
}

describe("calls", () => {
  it("go to the callee and come back with its answer", async () => {
    const testbed = await startTestbed();
    const [callee, caller] = [await testbed.join("relay", "json"), await testbed.join("builder", "msgpack")];
    const registration = await register(callee);
    caller.send([48, 31, {}, "webhook.replay", [1, "two"], { from: 3 }]);
    const [type, invocation, ...rest] = await callee.next();
    expect([type, ...rest]).toEqual([68, registration, {}, [1, "two"], { from: 3 }]);
    callee.send([70, invocation, {}, ["done"]]);
    expect(await caller.next()).toEqual([50, 31, {}, ["done"]]);
  });

  it("come back with the callee's error", async () => {
    const testbed = await startTestbed();
    const [callee, caller] = [await testbed.join("relay"), await testbed.join("builder")];
    await register(callee);
    caller.send([48, 31, {}, "webhook.replay"]);
    const [, invocation] = await callee.next();
    callee.send([8, 68, invocation, {}, "onionhook.error.gone", ["no"], { seq: 5 }]);
    expect(await caller.next()).toEqual([8, 48, 31, {}, "onionhook.error.gone", ["no"], { seq: 5 }]);
  });

  it.each(ids)("pass sealed bytes through unread, both ways, with a callee on %s", async (id) => {
    const testbed = await startTestbed();
    const callee = await testbed.join("relay", id);
    await register(callee);
    const encoding = { enc_algo: "cryptobox", enc_serializer: "json" };
    for (const callerId of ids) {
      /* oxlint-disable no-await-in-loop */
      const caller = await testbed.join("builder", callerId);
      caller.send([48, 1, encoding, "webhook.replay", sealed]);
      const [, invocation, , details, call] = await callee.next();
      expect(details).toEqual(encoding);
      expect(bytes(call).equals(sealed)).toBe(true);
      callee.send([70, invocation, encoding, sealed]);
      const [, , resultDetails, result] = await caller.next();
      expect(resultDetails).toEqual(encoding);
      expect(bytes(result).equals(sealed)).toBe(true);
      caller.send([48, 2, encoding, "webhook.replay", sealed]);
      const [, second] = await callee.next();
      callee.send([8, 68, second, encoding, "a.error", sealed]);
      const error = await caller.next();
      expect(error.slice(0, 5)).toEqual([8, 48, 2, encoding, "a.error"]);
      expect(bytes(error[5]).equals(sealed)).toBe(true);
      /* oxlint-enable no-await-in-loop */
    }
  });

  it("are told who calls where the permission discloses it", async () => {
    const testbed = await startTestbed({ changes: [EVERYTHING] });
    const [callee, caller] = [await testbed.join("relay"), await testbed.join("relay")];
    await register(callee, "a.b");
    caller.send([48, 1, {}, "a.b"]);
    const [, , , details] = await callee.next();
    expect(details).toEqual({ caller: caller.session, caller_authid: "relay", caller_authrole: "github" });
  });

  it("fail when the callee leaves before it answers", async () => {
    const testbed = await startTestbed();
    const [callee, caller] = [await testbed.join("relay"), await testbed.join("builder")];
    await register(callee);
    caller.send([48, 31, {}, "webhook.replay"]);
    await callee.next();
    callee.end();
    expect((await caller.next()).slice(0, 5)).toEqual([8, 48, 31, {}, "wamp.error.canceled"]);
    expect((await caller.ask([48, 32, {}, "webhook.replay"]))[4]).toBe("wamp.error.no_such_procedure");
  });

  it("may be given up; the late answer is dropped", async () => {
    const testbed = await startTestbed();
    const [callee, caller] = [await testbed.join("relay"), await testbed.join("builder")];
    await register(callee);
    caller.send([48, 31, {}, "webhook.replay"]);
    const [, invocation] = await callee.next();
    expect((await caller.ask([49, 31, {}]))[4]).toBe("wamp.error.canceled");
    callee.send([70, invocation, {}, ["late"]]);
    await callee.settled();
    expect(await caller.settled()).toEqual([]);
  });

  it("survive a caller that leaves", async () => {
    const testbed = await startTestbed();
    const [callee, caller] = [await testbed.join("relay"), await testbed.join("builder")];
    await register(callee);
    caller.send([48, 31, {}, "webhook.replay"]);
    const [, invocation] = await callee.next();
    caller.end();
    await until(() => expect(testbed.reports.map(([event]) => event)).toContain("left"));
    callee.send([70, invocation, {}, ["late"]]);
    expect(await callee.settled()).toEqual([]);
  });

  it("are answered by their own callee only", async () => {
    const testbed = await startTestbed({ changes: [EVERYTHING] });
    const [callee, other, caller] = [
      await testbed.join("relay"),
      await testbed.join("relay"),
      await testbed.join("relay"),
    ];
    await register(callee, "a.b");
    caller.send([48, 1, {}, "a.b"]);
    const [, invocation] = await callee.next();
    other.send([70, invocation, {}, ["forged"]]);
    await other.settled();
    callee.send([70, invocation, {}, ["true"]]);
    expect(await caller.next()).toEqual([50, 1, {}, ["true"]]);
  });
});

describe("registrations", () => {
  it("belong to one callee until it gives them up", async () => {
    const testbed = await startTestbed();
    const [first, second] = [await testbed.join("relay"), await testbed.join("relay")];
    const registration = await register(first);
    expect((await second.ask([64, 2, {}, "webhook.replay"]))[4]).toBe("wamp.error.procedure_already_exists");
    expect((await second.ask([66, 3, registration]))[4]).toBe("wamp.error.no_such_registration");
    expect(await first.ask([66, 4, registration])).toEqual([67, 4]);
    await register(second);
  });
});
