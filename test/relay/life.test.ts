import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Life, type LifeInput, MAX_SPENT, RECEIPT_MS, stepLife } from "../../relay/life.ts";
import type { Tries } from "../../relay/queue/queue.ts";

const fresh: Tries = { started: 0, spent: 0 };
const lastTry: Tries = { started: MAX_SPENT - 1, spent: MAX_SPENT - 1 };

const held: Life = { at: "held" };
const publishing: Life = { at: "publishing" };
const published: Life = { at: "published" };
const received: Life = { at: "received", receipt: "AAAA" };
const delayed: Life = { at: "delayed", delayMs: RECEIPT_MS, spent: false };
const dead: Life = { at: "dead", reason: "ERR_NO_RECEIPT" };
const done: Life = { at: "done" };
const refused = (life: Life): Life => ({ ...life, refused: "ERR_NOT_OPENED" }) as Life;

const start: LifeInput = { type: "start" };
const acknowledged = (receipts: boolean, heard: boolean): LifeInput => ({
  type: "acknowledged",
  receipts,
  heard,
});
const rejected: LifeInput = { type: "rejected" };
const receipt: LifeInput = { type: "receipt", receipt: "AAAA" };
const refusal: LifeInput = { type: "refusal", code: "ERR_NOT_OPENED" };
const timeout = (othersPassed: boolean): LifeInput => ({ type: "timeout", othersPassed });
const lost = (again: boolean): LifeInput => ({ type: "lost", again });
const accepted: LifeInput = { type: "accepted" };
const refusedBy = (code: string): LifeInput => ({ type: "refused", code });
const retry: LifeInput = { type: "retry" };

/** What docs/delivery.md has in its table: every title is named there. */
describe("the life of an event", () => {
  it.each<[title: string, life: Life, input: LifeInput, next: Life]>([
    ["held → publishing: its turn has come", held, start, publishing],
    ["publishing → published: the router has it", publishing, acknowledged(true, false), published],
    [
      "publishing → received: the router has it, no receipts are given, and somebody subscribed",
      publishing,
      acknowledged(false, true),
      { at: "received", receipt: undefined },
    ],
    [
      "publishing → delayed: the router has it, no receipts are given, and nobody subscribed",
      publishing,
      acknowledged(false, false),
      { at: "delayed", delayMs: RECEIPT_MS, spent: false },
    ],
    [
      "publishing → delayed: the router does not let us",
      publishing,
      rejected,
      { at: "delayed", delayMs: RECEIPT_MS, spent: false },
    ],
    ["publishing → received: the builder's receipt overtakes the router", publishing, receipt, received],
    ["published → received: the builder's receipt", published, receipt, received],
    ["publishing → publishing: a builder's refusal", publishing, refusal, refused(publishing)],
    ["published → published: a builder's refusal", published, refusal, refused(published)],
    [
      "published → received: another builder's receipt after a refusal",
      refused(published),
      receipt,
      received,
    ],
    [
      "publishing → published: the router has it after a refusal",
      refused(publishing),
      acknowledged(true, true),
      refused(published),
    ],
    [
      "published → delayed: no receipt in time, and no other event passed",
      published,
      timeout(false),
      { at: "delayed", delayMs: RECEIPT_MS, spent: false },
    ],
    [
      "published → delayed, spent: no receipt in time, and others passed",
      published,
      timeout(true),
      { at: "delayed", delayMs: RECEIPT_MS, spent: true },
    ],
    [
      "published → delayed, spent: no receipt in time after a refusal",
      refused(published),
      timeout(false),
      { at: "delayed", delayMs: 1000, spent: true },
    ],
    [
      "publishing → delayed: no answer of the router in time",
      publishing,
      timeout(false),
      { at: "delayed", delayMs: RECEIPT_MS, spent: false },
    ],
    ["publishing → held: the session is lost", publishing, lost(false), held],
    ["published → held: session or builder are lost", published, lost(false), held],
    [
      "publishing → delayed, spent: the session is lost again over this event",
      publishing,
      lost(true),
      { at: "delayed", delayMs: RECEIPT_MS, spent: true },
    ],
    ["received → done: the edge accepts the receipt", received, accepted, done],
    [
      "received → delayed: the edge refuses the receipt",
      received,
      refusedBy("ERR_RECEIPT"),
      { at: "delayed", delayMs: 60_000, spent: false },
    ],
    [
      "received → done: the edge does not know the event any more",
      received,
      refusedBy("ERR_UNKNOWN_EVENT"),
      done,
    ],
    ["received → done: the event's key was taken out", received, refusedBy("ERR_KEY_REVOKED"), done],
    ["delayed → held: its time, a builder or a person", delayed, retry, held],
    ["dead → held: a person, or a builder that misses it", dead, retry, held],
  ])("%s", (_title, life, input, next) => {
    expect(stepLife(life, input, fresh)).toEqual(next);
  });

  it.each<[title: string, life: Life, input: LifeInput, reason: string]>([
    [
      "published → dead: the last try is spent on a refusal",
      refused(published),
      timeout(false),
      "ERR_NOT_OPENED",
    ],
    [
      "published → dead: the last try is spent while others passed",
      published,
      timeout(true),
      "ERR_NO_RECEIPT",
    ],
    [
      "publishing → dead: the last try is spent on lost sessions",
      publishing,
      lost(true),
      "ERR_SESSION_BREAKS",
    ],
  ])("%s", (_title, life, input, reason) => {
    expect(stepLife(life, input, lastTry)).toEqual({ at: "dead", reason });
  });

  it("is never over for what is not the event's fault", () => {
    const often: Tries = { started: 10_000, spent: MAX_SPENT - 1 };
    for (const input of [timeout(false), rejected, acknowledged(false, false)])
      expect(stepLife(publishing, input, often)).toMatchObject({ at: "delayed", spent: false });
    expect(stepLife(published, lost(false), often)).toEqual(held);
  });

  it.each([
    [0, 10_000, 1000],
    [1, 20_000, 2000],
    [4, 160_000, 16_000],
    [5, 300_000, 32_000],
    [9, 300_000, 256_000],
    [1_000_000, 300_000, 256_000],
  ])("pauses after %i tries for %i ms, or %i ms when it is refused", (started, silentMs, refusedMs) => {
    const delayOf = (life: Life) => stepLife(life, timeout(false), { started, spent: 0 });
    expect(delayOf(published)).toMatchObject({ delayMs: silentMs });
    expect(delayOf(refused(published))).toMatchObject({ delayMs: refusedMs });
  });

  const code = fc.constantFrom("ERR_NOT_OPENED", "ERR_UNKNOWN_EVENT", "ERR_KEY_REVOKED", "ERR_RECEIPT");
  const anyInput: fc.Arbitrary<LifeInput> = fc.oneof(
    fc.constantFrom<LifeInput>(start, rejected, receipt, accepted, retry),
    fc.tuple(fc.boolean(), fc.boolean()).map(([receipts, heard]) => acknowledged(receipts, heard)),
    code.map((why): LifeInput => ({ type: "refusal", code: why })),
    fc.boolean().map(timeout),
    fc.boolean().map(lost),
    code.map(refusedBy),
  );

  /** The edges of the table: from, what happens, to. */
  const EDGES: ReadonlySet<string> = new Set([
    "held start publishing",
    "publishing acknowledged published",
    "publishing acknowledged received",
    "publishing acknowledged delayed",
    "received accepted done",
    "received refused delayed",
    "received refused done",
    "delayed retry held",
    "dead retry held",
    ...["publishing", "published"].flatMap((at) => [
      `${at} rejected delayed`,
      `${at} receipt received`,
      `${at} refusal ${at}`,
      `${at} timeout delayed`,
      `${at} timeout dead`,
      `${at} lost held`,
      `${at} lost delayed`,
      `${at} lost dead`,
    ]),
  ]);

  /** A life from its beginning, with its tries counted as the queue counts them. */
  function* live(inputs: readonly LifeInput[]) {
    let life: Life = held;
    let tries = fresh;
    for (const input of inputs) {
      const before: Life = life;
      const triesBefore: Tries = tries;
      life = stepLife(before, input, tries);
      if (life !== before && life.at === "delayed")
        tries = { started: tries.started + 1, spent: tries.spent + (life.spent ? 1 : 0) };
      if (life !== before && before.at === "dead") tries = fresh;
      yield { before, input, life, tries: triesBefore };
    }
  }

  it("keeps to the edges of its table, whatever happens", () => {
    fc.assert(
      fc.property(fc.array(anyInput, { maxLength: 100 }), (inputs) => {
        for (const { before, input, life } of live(inputs))
          if (life !== before) expect(EDGES).toContain(`${before.at} ${input.type} ${life.at}`);
      }),
      { numRuns: 1000 },
    );
  });

  it("spends a try only when refused, passed by others, or broken again, and ends after the last alone", () => {
    fc.assert(
      fc.property(fc.array(anyInput, { maxLength: 200 }), (inputs) => {
        for (const { before, input, life, tries } of live(inputs)) {
          if (life === before) continue;
          const isSpent = (life.at === "delayed" && life.spent) || life.at === "dead";
          const wasRefused = "refused" in before;
          const isItsFault =
            (input.type === "timeout" && (wasRefused || input.othersPassed)) ||
            (input.type === "lost" && input.again);
          expect(isSpent).toBe(isItsFault);
          if (isItsFault) expect(life.at === "dead").toBe(tries.spent + 1 === MAX_SPENT);
        }
      }),
      { numRuns: 1000 },
    );
  });
});
