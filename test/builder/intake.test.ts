import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import nacl from "tweetnacl";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { makeIntake } from "../../builder/intake.ts";
import { openJournal } from "../../builder/journal.ts";
import { CRYPTOBOX, seal } from "../../shared/cryptobox.ts";
import { encodeEvent } from "../../shared/event.ts";
import { makeKeyring } from "../../shared/keyring.ts";
import { sharedKey } from "../../shared/shared-key.ts";
import { TOPIC_PREFIX } from "../../shared/topic.ts";
import { Passthru } from "../../shared/wamp/passthru.ts";
import { MAX_UNACKNOWLEDGED, type WampSession } from "../../shared/wamp/session.ts";
import { someEvent } from "./some-event.ts";

const edge = nacl.box.keyPair();
const builder = nacl.box.keyPair();
const shared = sharedKey(builder.publicKey, edge.secretKey);

function start() {
  const folder = mkdtempSync(join(tmpdir(), "oh-intake-"));
  const journal = openJournal(join(folder, "journal.sqlite"), { numbered: true });
  onTestFinished(() => {
    journal.close();
    rmSync(folder, { recursive: true });
  });
  const reports: string[] = [];
  const codes: unknown[] = [];
  const intake = makeIntake(
    {
      journal,
      rules: [],
      keyring: makeKeyring([{ uri: TOPIC_PREFIX, match: "prefix", responder: [shared] }]),
      webhookSecret: undefined,
      requireSignature: false,
      report: (event, fields) => {
        reports.push(event);
        if (event === "error") codes.push(fields?.["code"]);
      },
    },
    () => {},
  );
  /** What waits for the router's acknowledgement. */
  const acknowledge: (() => void)[] = [];
  const publish = vi.fn<WampSession["publish"]>(
    () => new Promise((resolve) => void acknowledge.push(resolve)),
  );
  const session: WampSession = {
    publish,
    subscribe: async () => {},
    call: async () => {},
    register: async () => {},
    closed: new Promise(() => {}),
    close: async () => {},
  };
  const come = (sealed: Uint8Array) => {
    const passthru = new Passthru(sealed, CRYPTOBOX, "json");
    intake.onEvent(session, { topic: "webhook.github.push", passthru, args: [], kwargs: {} });
  };
  return { come, publish, acknowledge, reports, codes };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

function sealedEvent(seq: number): Uint8Array {
  const { topic, delivery, rawBody } = someEvent(seq, "{}");
  return seal(encodeEvent(topic, delivery, rawBody), shared);
}

describe("at a router that acknowledges nothing", () => {
  it("no more is refused than may wait, and events are taken again when it does acknowledge", async () => {
    const { come, publish, acknowledge, reports, codes } = start();
    const refuseMany = () => {
      for (let times = 0; times < MAX_UNACKNOWLEDGED + 100; times += 1) come(new Uint8Array(40));
    };
    const told = () => codes.filter((code) => code === "ERR_UNACKNOWLEDGED");
    refuseMany();
    expect(publish).toHaveBeenCalledTimes(MAX_UNACKNOWLEDGED);
    expect(codes).toHaveLength(MAX_UNACKNOWLEDGED + 1);
    expect(told()).toHaveLength(1);
    come(sealedEvent(1));
    await turn();
    expect(reports, "nothing is kept that gets no receipt").not.toContain("opened");
    acknowledge.shift()?.();
    await turn();
    come(sealedEvent(1));
    await turn();
    expect(reports.at(-1)).toBe("opened");
    expect(publish).toHaveBeenCalledTimes(MAX_UNACKNOWLEDGED + 1);
    come(sealedEvent(2));
    expect(told(), "it is as full as it was").toHaveLength(1);

    for (const each of acknowledge.splice(0)) each();
    await turn();
    refuseMany();
    expect(told()).toHaveLength(2);
  });

  it("nor are more receipts given, however often an event comes", async () => {
    const { come, publish, reports } = start();
    const event = sealedEvent(1);
    for (let times = 0; times < MAX_UNACKNOWLEDGED + 100; times += 1) come(event);
    await vi.waitFor(() => expect(publish).toHaveBeenCalledTimes(MAX_UNACKNOWLEDGED));
    come(event);
    await turn();
    expect(publish).toHaveBeenCalledTimes(MAX_UNACKNOWLEDGED);
    expect(reports.filter((report) => report === "opened")).toHaveLength(1);
  });
});
