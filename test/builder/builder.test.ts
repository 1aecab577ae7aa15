import { createHmac } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import nacl from "tweetnacl";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { runBuilder } from "../../builder/builder.ts";
import { parseConfig } from "../../builder/config.ts";
import { decodeBase64, encodeUtf8 } from "../../shared/bytes.ts";
import { CRYPTOBOX, seal, sealTag } from "../../shared/cryptobox.ts";
import type { DeliveryRecord } from "../../shared/delivery.ts";
import { encodeEvent } from "../../shared/event.ts";
import { writeSecretFile } from "../../shared/host/key-file.ts";
import { formatKey } from "../../shared/keys.ts";
import { openReceipt } from "../../shared/receipt.ts";
import { openPayload, sealPayload } from "../../shared/sealed-payload.ts";
import { sharedKey } from "../../shared/shared-key.ts";
import { RECEIPT_TOPIC, REPLAY_PROCEDURE } from "../../shared/topic.ts";
import { Passthru } from "../../shared/wamp/passthru.ts";
import { joinWamp, type WampSession } from "../../shared/wamp/session.ts";
import { eventually } from "../helpers/until.ts";
import type { KeyPair } from "../router/raw-client.ts";
import { startTestbed, type Testbed } from "../router/testbed.ts";
import { fillDisk, MAY_MOUNT, mountSmallDisk } from "./small-disk.ts";

const SECRET = "the webhook's secret";
const PUSH = "webhook.github.push";
const CANARY = "webhook.github.onionhook_canary";
const body = encodeUtf8('{"ref":"refs/heads/main"}');

const edgeKeys = nacl.box.keyPair();
const relayKeys = nacl.box.keyPair();
const builderKeys = nacl.box.keyPair();
const withEdge = sharedKey(builderKeys.publicKey, edgeKeys.secretKey);
const withRelay = sharedKey(builderKeys.publicKey, relayKeys.secretKey);

/** What the edge seals for the builder. */
function sealed(seq: number, topic = PUSH, changes: Partial<DeliveryRecord> = {}): Uint8Array {
  const record: DeliveryRecord = {
    v: 1,
    id: `delivery-${seq}`,
    event: topic.slice("webhook.github.".length),
    hook_id: null,
    received_at: "2026-11-21T00:00:00.000Z",
    stream: "docs",
    seq,
    redelivery: false,
    signature: `sha256=${createHmac("sha256", SECRET).update(body).digest("hex")}`,
    body_bytes: body.length,
    altered: false,
    ...changes,
  };
  return seal(encodeEvent(topic, record, body), withEdge);
}

const seedOf = ({ privateKey }: KeyPair) => privateKey.export({ format: "der", type: "pkcs8" }).subarray(-32);

describe("the builder, at our router", () => {
  let folder: string;
  let router: Testbed;
  let relay: WampSession;
  let answers: Record<string, unknown>[];

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "oh-builder-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    writeSecretFile(join(folder, "webhook.secret"), SECRET);
    writeSecretFile(join(folder, "box.key"), formatKey("box", "secret", builderKeys.secretKey));
    router = await startTestbed();
    writeSecretFile(join(folder, "sign.key"), formatKey("sign", "secret", seedOf(router.keys.builder)));
    relay = await joinAs("relay");
    answers = [];
    await relay.subscribe(RECEIPT_TOPIC, "exact", ({ kwargs }) => void answers.push(kwargs));
  });

  const url = () => {
    const { endpoint } = router;
    return "path" in endpoint ? `ws+unix://${endpoint.path}:/` : `ws://${endpoint.host}:${endpoint.port}/ws`;
  };

  async function joinAs(authid: "relay" | "builder"): Promise<WampSession> {
    const stop = new AbortController();
    const session = await joinWamp({
      url: url(),
      realm: "onionhook",
      authid,
      seed: seedOf(router.keys[authid]),
      tor: "none",
      isolation: authid,
      signal: stop.signal,
    });
    onTestFinished(() => session.close());
    return session;
  }

  /** A builder that is in the realm and listens; its builds write their numbers into the file `built`. */
  async function startBuilder(changes: Record<string, unknown> = {}) {
    const build = ["sh", "-c", `echo "$ONIONHOOK_STREAM $ONIONHOOK_SEQ" >> ${join(folder, "built")}`];
    const config = parseConfig(
      {
        data_dir: "data",
        tor: "none",
        router: { url: url(), realm: "onionhook", authid: "builder", key_file: "sign.key" },
        box_key_file: "box.key",
        edge_box_public: formatKey("box", "public", edgeKeys.publicKey),
        relay_box_public: formatKey("box", "public", relayKeys.publicKey),
        webhook_secret_file: "webhook.secret",
        rules: [{ name: "docs", event: "push", run: [build] }],
        ...changes,
      },
      folder,
    );
    const reports: Record<string, unknown>[] = [];
    const stop = new AbortController();
    const report = (event: string, fields = {}) => void reports.push({ event, ...fields });
    const ended = runBuilder(config, report, stop.signal);
    const end = async () => {
      stop.abort();
      await ended;
    };
    const told = (event: string) => reports.filter((each) => each["event"] === event);
    await Promise.race([eventually("it listens", () => told("connected").length > 0), ended]);
    onTestFinished(end);
    return { reports, told, end };
  }

  const publish = (bytes: Uint8Array, topic = PUSH) =>
    relay.publish(topic, new Passthru(bytes, CRYPTOBOX, "json"));
  const built = () => readFileSync(join(folder, "built"), "utf8").trim().split("\n");
  const receipts = () =>
    answers.flatMap(({ receipt }) =>
      typeof receipt === "string" ? [openReceipt(decodeBase64(receipt), withEdge).seq] : [],
    );

  /** Answers `webhook.replay` as `answer` says, and remembers what was asked. */
  async function serveReplay(answer: (question: Record<string, unknown>) => unknown) {
    const questions: Record<string, unknown>[] = [];
    await relay.register(REPLAY_PROCEDURE, ([payload]) => {
      if (!(payload instanceof Passthru)) throw new TypeError("not sealed");
      const question = openPayload(REPLAY_PROCEDURE, payload, [withRelay]).kwargs;
      questions.push(question);
      return answer(question);
    });
    return questions;
  }
  const sealedAnswer = (kwargs: Record<string, unknown>, key = withRelay) =>
    new Passthru(sealPayload(REPLAY_PROCEDURE, { kwargs }, key), CRYPTOBOX, "json");

  it("answers each event with a receipt, a duplicate too, and runs it once", async () => {
    const { told } = await startBuilder();
    const event = sealed(1);
    await publish(event);
    await publish(event);
    await eventually(
      "both have receipts and one is built",
      () => receipts().length === 2 && told("built").length === 1,
    );
    expect(told("opened")).toMatchObject([{ delivery: "delivery-1", signature: "verified", rules: 1 }]);
    expect(built()).toEqual(["docs 1"]);
  });

  it("refuses what it cannot take because of the event itself, by its tag", async () => {
    const { told } = await startBuilder();
    const moved = sealed(1, "webhook.github.issues");
    const unsigned = sealed(2, PUSH, { signature: `sha256=${"0".repeat(64)}` });
    const foreign = seal(encodeUtf8("{}"), sharedKey(builderKeys.publicKey, nacl.box.keyPair().secretKey));
    const formless = seal(encodeUtf8("{}"), withEdge);
    const unsealed = encodeUtf8("x".repeat(60));
    for (const bytes of [moved, unsigned, foreign, formless]) await publish(bytes);
    await relay.publish(PUSH, new Passthru(unsealed, undefined, "json"));
    await relay.publish(PUSH, { plain: "text" });
    await eventually("all are told", () => told("error").length === 6);
    const refused = [
      [moved, "ERR_EVENT_URI"],
      [unsigned, "ERR_SIGNATURE"],
      [foreign, "ERR_NOT_OPENED"],
      [formless, "ERR_EVENT_FORMAT"],
      [unsealed, "ERR_PLAINTEXT"],
    ] as const;
    await eventually("all are refused", () => answers.length === refused.length);
    expect(answers).toEqual(refused.map(([bytes, code]) => ({ tag: sealTag(bytes), refused: code })));
    expect(told("error").at(-1)).toMatchObject({ code: "ERR_PLAINTEXT" });
  });

  it("takes an altered event, unless GitHub's signature is required", async () => {
    const { told, end } = await startBuilder();
    await publish(sealed(1, PUSH, { altered: true }));
    await eventually("it is built", () => told("built").length === 1);
    await end();
    await startBuilder({ require_signature: true });
    const altered = sealed(2, PUSH, { altered: true });
    await publish(altered);
    await eventually("the other is refused", () => answers.length === 2);
    expect(answers[1]).toEqual({ tag: sealTag(altered), refused: "ERR_ALTERED" });
  });

  it("builds in order what came out of order, and sends receipts without waiting for that", async () => {
    const { told } = await startBuilder();
    const questions = await serveReplay(({ id }) => sealedAnswer({ id, events: 0 }));
    for (const seq of [1, 4, 3]) await publish(sealed(seq));
    await publish(sealed(1, PUSH, { stream: "other" }));
    await eventually("all have receipts", () => receipts().length === 4);
    await eventually("another stream is built", () => told("built").length === 2);
    expect(built()).toEqual(["docs 1", "other 1"]);
    await publish(sealed(2));
    await eventually("all are built", () => told("built").length === 5);
    expect(built()).toEqual(["docs 1", "other 1", "docs 2", "docs 3", "docs 4"]);
    expect(questions).toEqual([]);
  });

  it("asks the relay for what is missing, takes it, and builds in order", async () => {
    const { told } = await startBuilder();
    const questions = await serveReplay(async ({ id, from, to }) => {
      for (const seq of [3, 2]) await publish(sealed(seq));
      return sealedAnswer({ id, events: Number(to) - Number(from) + 1 });
    });
    for (const seq of [1, 4]) await publish(sealed(seq));
    await eventually("all are built", () => told("built").length === 4);
    expect(built()).toEqual(["docs 1", "docs 2", "docs 3", "docs 4"]);
    expect(questions).toMatchObject([{ stream: "docs", from: 2, to: 3 }]);
    expect(told("error")).toEqual([]);
  });

  it("raises the alarm for what the relay does not have, and goes on", async () => {
    const { told } = await startBuilder();
    await serveReplay(({ id }) => sealedAnswer({ id, events: 0 }));
    for (const seq of [1, 3]) await publish(sealed(seq));
    await eventually("the alarm is raised", () => told("error").length === 1);
    expect(told("error")).toMatchObject([{ code: "ERR_GAP", message: "event 2 of stream docs never came" }]);
    await eventually("what was behind is built", () => told("built").length === 2);
    await publish(sealed(2));
    await eventually("what comes after all is built", () => told("built").length === 3);
    expect(told("error")).toHaveLength(1);
  });

  it("believes no answer that is not the relay's", async () => {
    const { told } = await startBuilder();
    const lies: unknown[] = [{ events: 0 }, sealedAnswer({ events: 0 }, nacl.randomBytes(32))];
    await serveReplay(({ id }) => lies.shift() ?? sealedAnswer({ id, events: 0 }));
    for (const seq of [1, 3]) await publish(sealed(seq));
    await eventually("the third answer is believed", () => told("error").length === 3, 20_000);
    expect(told("error").map(({ code }) => code)).toEqual(["ERR_PLAINTEXT", "ERR_NOT_OPENED", "ERR_GAP"]);
  });

  it("asks again when nobody serves the procedure yet", async () => {
    const { told } = await startBuilder();
    for (const seq of [1, 3]) await publish(sealed(seq));
    await eventually("it was asked for in vain", () => told("error").length === 1);
    expect(told("error")).toMatchObject([{ code: "ERR_WAMP_REFUSED" }]);
    await serveReplay(async ({ id }) => {
      await publish(sealed(2));
      return sealedAnswer({ id, events: 1 });
    });
    await eventually("all are built", () => told("built").length === 3);
    expect(built()).toEqual(["docs 1", "docs 2", "docs 3"]);
  });

  it("remembers after a restart what is missing", async () => {
    const first = await startBuilder();
    for (const seq of [1, 3]) await publish(sealed(seq));
    await eventually("both have receipts", () => receipts().length === 2);
    await first.end();
    const questions = await serveReplay(async ({ id }) => {
      await publish(sealed(2));
      return sealedAnswer({ id, events: 1 });
    });
    const second = await startBuilder();
    await eventually("all are built", () => second.told("built").length === 2);
    expect(questions).toMatchObject([{ stream: "docs", from: 2, to: 2 }]);
    expect(built()).toEqual(["docs 1", "docs 2", "docs 3"]);
  });

  it("takes a canary as an event of its stream, and runs nothing for it", async () => {
    const { told } = await startBuilder();
    const canary = sealed(2, CANARY, { signature: `sha256=${"0".repeat(64)}` });
    await publish(sealed(1));
    await publish(canary, CANARY);
    await publish(sealed(3));
    await eventually("all have receipts", () => receipts().length === 3);
    await eventually("two are built", () => told("built").length === 2);
    expect(told("canary")).toEqual([{ event: "canary", stream: "docs", seq: 2 }]);
    expect(told("opened").map(({ seq }) => seq)).toEqual([1, 3]);
  });

  it("says when the edge's store began anew", async () => {
    const { told } = await startBuilder();
    for (const seq of [1, 2, 1]) await publish(sealed(seq));
    await eventually("all are built", () => told("built").length === 3);
    expect(told("stream_restarted")).toEqual([{ event: "stream_restarted", stream: "docs", seq: 1 }]);
  });

  it("shares: it listens by wildcard, and misses nothing of what another has", async () => {
    const { told } = await startBuilder({ share: true });
    const lookup = (match: string) => relay.call("wamp.subscription.lookup", "webhook.github.", { match });
    expect([await lookup("prefix"), await lookup("wildcard")]).toEqual([null, expect.anything()]);
    for (const seq of [1, 7]) await publish(sealed(seq));
    // Well before GAP_GIVE_UP_MS, when what is held back is let go.
    await eventually("both are built, held back by nothing", () => told("built").length === 2, 30_000);
  });

  it("does not start without its journal, and says what to do", async () => {
    writeFileSync(join(folder, "journal.sqlite"), "no database".repeat(100));
    await expect(startBuilder({ data_dir: folder })).rejects.toMatchObject({
      code: "ERR_JOURNAL",
      message: "the journal cannot be written: the builder does not start",
    });
  });

  it.runIf(MAY_MOUNT)(
    "says once that the disk is full and nothing to the relay, and takes the event when it comes again",
    async () => {
      const disk = mountSmallDisk("1m");
      const { told, end } = await startBuilder({ data_dir: disk });
      const ballast = fillDisk(disk, 1024 * 1024);
      const event = sealed(1);
      const refused = encodeUtf8("not sealed, and the last of them");
      for (const bytes of [event, sealed(2), sealed(3), refused]) await publish(bytes);
      await eventually("all of them are seen", () => answers.length > 0);
      expect(answers).toEqual([expect.objectContaining({ refused: "ERR_NOT_OPENED" })]);
      rmSync(ballast);
      await publish(event);
      await eventually("it is built", () => told("built").length === 1);
      expect(told("error").filter(({ code }) => code !== "ERR_NOT_OPENED")).toMatchObject([
        { code: "ERR_JOURNAL", message: expect.stringContaining("full"), hint: expect.any(String) },
      ]);
      await end();
    },
  );
});
