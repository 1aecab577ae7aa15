import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { GAP_GIVE_UP_MS } from "../../builder/gap-wait.ts";
import { type Journal, openJournal } from "../../builder/journal.ts";
import { makeRecovery, type Recovery } from "../../builder/recovery.ts";
import { CRYPTOBOX } from "../../shared/cryptobox.ts";
import { makeKeyring } from "../../shared/keyring.ts";
import { openPayload, type Payload, sealPayload } from "../../shared/sealed-payload.ts";
import { REPLAY_PROCEDURE } from "../../shared/topic.ts";
import { Passthru } from "../../shared/wamp/passthru.ts";
import type { WampSession } from "../../shared/wamp/session.ts";
import { ErrorReply } from "../../shared/wamp/wamp-error.ts";
import { someEvent } from "./some-event.ts";

const KEY = new Uint8Array(32).fill(1);
const OLD_KEY = new Uint8Array(32).fill(2);

/**
 * What a relay answers to a question, to which the question's id is added; the time is held still, which no real one
 * does.
 */
type Answers = (question: Record<string, unknown>) => unknown;

function sessionWith(answers: Answers, key = KEY): WampSession {
  return {
    publish: async () => {},
    subscribe: async () => {},
    async call(procedure, payload) {
      if (!(payload instanceof Passthru)) throw new TypeError("not sealed");
      const question = openedBy(key, procedure, payload).kwargs;
      const answer = answers(question);
      if (answer instanceof Passthru) return answer;
      return sealed(procedure, Object.assign({ id: question["id"] }, answer), key);
    },
    register: async () => {},
    closed: new Promise(() => {}),
    close: async () => {},
  };
}

function openedBy(key: Uint8Array, procedure: string, payload: Passthru): Payload {
  try {
    return openPayload(procedure, payload, [key]);
  } catch {
    throw new ErrorReply("wamp.error.encryption.decrypt_error");
  }
}

function sealed(uri: string, kwargs: Record<string, unknown>, key = KEY): Passthru {
  return new Passthru(sealPayload(uri, { kwargs }, key), CRYPTOBOX, "json");
}

describe("recovery", () => {
  let folder: string;
  let journal: Journal;
  let recovery: Recovery;
  let reports: Record<string, unknown>[];
  const onReleased = vi.fn(() => {});

  beforeEach(() => {
    vi.useFakeTimers();
    folder = mkdtempSync(join(tmpdir(), "oh-recovery-"));
    journal = openJournal(join(folder, "journal.sqlite"));
    reports = [];
    onReleased.mockClear();
  });
  afterEach(() => {
    recovery.end();
    expect(vi.getTimerCount()).toBe(0);
    vi.useRealTimers();
    journal.close();
    rmSync(folder, { recursive: true });
  });

  const start = (keys: readonly Uint8Array[] = [KEY]) => {
    const report = (event: string, fields = {}) => void reports.push({ event, ...fields });
    const keyring = makeKeyring([{ uri: REPLAY_PROCEDURE, match: "exact", originator: keys }]);
    recovery = makeRecovery({ journal, keyring, report }, onReleased);
  };
  const arrive = (...numbers: number[]) => {
    const entries = numbers.map((seq) => ({ tag: `tag-${seq}`, event: someEvent(seq, "{}"), rules: [] }));
    journal.keep(entries);
    recovery.noted(["builder"]);
  };
  const codes = () => reports.map(({ event, code }) => code ?? event);
  const givenUp = () => journal.numbering("builder")?.missing.filter((gap) => gap.givenUp).length;

  it("asks for nothing that comes within a moment", async () => {
    start();
    const answers = vi.fn<Answers>(() => ({ events: 1 }));
    recovery.onSession(sessionWith(answers));
    arrive(1, 3);
    await vi.advanceTimersByTimeAsync(1900);
    arrive(2);
    await vi.advanceTimersByTimeAsync(2 * GAP_GIVE_UP_MS);
    expect(answers).not.toHaveBeenCalled();
    expect(reports).toEqual([]);
  });

  it("asks for what is missing, and holds back what is behind it until it is here", async () => {
    start();
    const answers = vi.fn<Answers>(() => ({ events: 2 }));
    recovery.onSession(sessionWith(answers));
    arrive(1, 4);
    expect([recovery.holds("builder", 1), recovery.holds("builder", 4)]).toEqual([false, true]);
    expect(recovery.holds("other", 4)).toBe(false);
    await vi.advanceTimersByTimeAsync(2000);
    expect(answers).toHaveBeenCalledWith({ id: expect.any(String), stream: "builder", from: 2, to: 3 });
    expect(reports).toEqual([{ event: "asked", stream: "builder", from: 2, to: 3, events: 2 }]);
    arrive(2, 3);
    expect(recovery.holds("builder", 4)).toBe(false);
  });

  it("raises one alarm at once for what the relay does not have, and releases what is behind", async () => {
    start();
    recovery.onSession(sessionWith(() => ({ events: 0 })));
    arrive(4, 8);
    await vi.advanceTimersByTimeAsync(2000);
    expect(reports.at(-1)).toMatchObject({
      event: "error",
      code: "ERR_GAP",
      message: "events 5 to 7 of stream builder never came",
      hint: expect.stringContaining("onionhook replay"),
      from: 5,
      to: 7,
    });
    expect(recovery.holds("builder", 8)).toBe(false);
    expect(onReleased).toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(600_000);
    expect(codes()).toEqual(["asked", "ERR_GAP"]);
    // Another life of the builder does not raise it again, and takes the event that comes after all.
    recovery.end();
    start();
    await vi.advanceTimersByTimeAsync(600_000);
    arrive(5, 6, 7);
    expect(codes()).toEqual(["asked", "ERR_GAP"]);
    expect(journal.numbering("builder")).toMatchObject({ newest: 8, missing: [] });
  });

  it("without the relay's key only waits, and raises the alarm", async () => {
    start([]);
    recovery.onSession(sessionWith(() => ({ events: 1 })));
    arrive(4, 6);
    await vi.advanceTimersByTimeAsync(GAP_GIVE_UP_MS + 100);
    expect(reports).toMatchObject([{ code: "ERR_GAP", message: "event 5 of stream builder never came" }]);
  });

  it("counts only the time in which a session is there, but holds nothing back for longer", async () => {
    start();
    recovery.onSession(sessionWith(() => ({ events: 1 })));
    arrive(4, 6);
    await vi.advanceTimersByTimeAsync(GAP_GIVE_UP_MS / 2);
    recovery.onLost();
    await vi.advanceTimersByTimeAsync(GAP_GIVE_UP_MS / 2 - 1000);
    expect(recovery.holds("builder", 6)).toBe(true);
    await vi.advanceTimersByTimeAsync(3_000_000);
    expect(recovery.holds("builder", 6)).toBe(false);
    expect(onReleased).toHaveBeenCalled();
    expect(codes()).not.toContain("ERR_GAP");
    recovery.onSession(sessionWith(() => ({ events: 1 })));
    await vi.advanceTimersByTimeAsync(GAP_GIVE_UP_MS / 2 - 1000);
    expect(codes()).not.toContain("ERR_GAP");
    await vi.advanceTimersByTimeAsync(2000);
    expect(codes().filter((code) => code === "ERR_GAP")).toHaveLength(1);
  });

  it("is told what to set when the relay does not know its key", async () => {
    start([OLD_KEY]);
    recovery.onSession(sessionWith(() => ({ events: 1 })));
    arrive(4, 6);
    await vi.advanceTimersByTimeAsync(2000);
    expect(reports).toMatchObject([
      {
        event: "error",
        code: "ERR_REPLAY",
        message: "the relay cannot open what this builder asks",
        hint: expect.stringMatching(/replay\.builders.*relay_box_public/),
        stream: "builder",
      },
    ]);
  });

  it.each<[string, Answers, string]>([
    ["is not sealed", () => new Passthru(new Uint8Array(60), undefined, "json"), "ERR_PLAINTEXT"],
    ["somebody else sealed", () => sealed(REPLAY_PROCEDURE, { events: 0 }, OLD_KEY), "ERR_NOT_OPENED"],
    ["was sealed for another procedure", () => sealed("webhook.other", { events: 0 }), "ERR_SEALED_PAYLOAD"],
    ["is the question itself", (question) => question, "ERR_REPLAY"],
    ["is another question's", () => ({ id: randomUUID(), events: 0 }), "ERR_REPLAY"],
    ["is a malformed question's", () => ({ id: "", error: "ERR_REPLAY_REQUEST" }), "ERR_REPLAY"],
    ["is an error", () => ({ error: "ERR_EDGE_AWAY" }), "ERR_REPLAY"],
    [
      "never comes",
      () => {
        throw new ErrorReply("wamp.error.no_such_procedure");
      },
      "ERR_WAMP_REFUSED",
    ],
    [
      "is an error that is not sealed",
      () => {
        throw new ErrorReply("webhook.replay.error");
      },
      "ERR_PLAINTEXT",
    ],
  ])(
    "refuses an answer that %s, and asks again ever more rarely until it gives up",
    async (_what, lie, code) => {
      start();
      const times: number[] = [];
      const began = Date.now();
      const answers: Answers = (question) => {
        times.push(Date.now() - began);
        return lie(question);
      };
      recovery.onSession(sessionWith(answers));
      arrive(4, 6);
      await vi.advanceTimersByTimeAsync(600_000);
      expect(times.map((ms) => Math.round(ms / 1000))).toEqual([2, 6, 14, 30, 62]);
      expect(codes()).toEqual([code, code, code, code, code, "ERR_GAP"]);
      expect(givenUp()).toBe(1);
    },
  );

  it("asks at once under the older of two keys when the relay does not know the new one", async () => {
    start([KEY, OLD_KEY]);
    recovery.onSession(sessionWith(() => ({ events: 1 }), OLD_KEY));
    arrive(4, 6);
    await vi.advanceTimersByTimeAsync(2000);
    expect(codes()).toEqual(["asked"]);
  });

  it("waits for what another life of the builder missed", async () => {
    start();
    arrive(4, 6);
    recovery.end();
    start();
    expect(recovery.holds("builder", 6)).toBe(true);
    recovery.onSession(sessionWith(() => ({ events: 0 })));
    await vi.advanceTimersByTimeAsync(2000);
    expect(codes()).toEqual(["asked", "ERR_GAP"]);
  });

  it("raises the alarm for what a store that began anew can no longer send", () => {
    start();
    arrive(1, 4);
    journal.keep([{ tag: "anew", event: someEvent(1, "{}"), rules: [] }]);
    recovery.noted(["builder"]);
    expect(reports).toMatchObject([{ code: "ERR_GAP", from: 2, to: 3 }]);
    expect(recovery.holds("builder", 4)).toBe(false);
  });

  it("raises no alarm before the journal has it, and does as soon as it can", async () => {
    start([]);
    recovery.onSession(sessionWith(() => ({ events: 1 })));
    arrive(4, 6);
    const giveUp = vi.spyOn(journal, "giveUp").mockImplementation(() => {
      throw Object.assign(new Error("full"), { code: "ERR_SQLITE_ERROR", errcode: 13 });
    });
    await vi.advanceTimersByTimeAsync(1.5 * GAP_GIVE_UP_MS);
    expect(codes()).toEqual(["ERR_JOURNAL"]);
    giveUp.mockRestore();
    await vi.advanceTimersByTimeAsync(5000);
    expect(codes()).toEqual(["ERR_JOURNAL", "ERR_GAP"]);
  });
});
