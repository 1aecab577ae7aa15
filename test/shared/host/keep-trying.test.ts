import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it, vi } from "vitest";
import { OnionhookError } from "../../../shared/errors.ts";
import { keepTrying } from "../../../shared/host/keep-trying.ts";

// As it is, but for the tests that would wait for minutes.
vi.mock(import("node:timers/promises"), { spy: true });

it("tries again however an attempt ends, reports what was thrown, and stops at the signal", async () => {
  const stop = new AbortController();
  const reports: unknown[] = [];
  let attempts = 0;
  await keepTrying(
    async () => {
      attempts += 1;
      if (attempts === 1) throw new OnionhookError("ERR_TEST", "once");
      if (attempts === 3) stop.abort();
    },
    (event, fields) => reports.push([event, fields]),
    stop.signal,
  );
  expect(attempts).toBe(3);
  expect(reports).toEqual([["error", { code: "ERR_TEST", message: "once" }]]);
});

it("says nothing of what the signal itself broke off", async () => {
  const stop = new AbortController();
  const reports: unknown[] = [];
  await keepTrying(
    async () => {
      stop.abort();
      throw new Error("broken off");
    },
    (event) => reports.push(event),
    stop.signal,
  );
  expect(reports).toEqual([]);
});

describe("an outage", () => {
  afterEach(() => vi.restoreAllMocks());

  /** The codes that are reported while attempt after attempt ends so, with `everyMs` in between. */
  async function saidOf(ends: readonly (string | undefined)[], everyMs: number): Promise<string[]> {
    const stop = new AbortController();
    const said: string[] = [];
    let attempts = 0;
    vi.spyOn(performance, "now").mockImplementation(() => attempts * everyMs);
    vi.mocked(sleep).mockResolvedValue(undefined);
    await keepTrying(
      async (reached) => {
        const end = ends[attempts];
        attempts += 1;
        if (end === undefined) return stop.abort();
        if (end.startsWith("reached ")) reached();
        if (end === "pauses") return { firstMs: 7, capMs: 20 };
        const code = /[AB]$/.exec(end)?.[0];
        if (code !== undefined) throw new OnionhookError(`ERR_${code}`, "away", { retryable: true });
      },
      (_event, fields) => said.push(String(fields?.["code"])),
      stop.signal,
    );
    return said;
  }

  it.each<[string, (string | undefined)[], string[]]>([
    ["once, however often it is tried in vain", ["ERR_A", "ERR_A", "ERR_A"], ["ERR_A"]],
    ["in each of its ways, once", ["ERR_A", "ERR_B", "ERR_A", "ERR_B"], ["ERR_A", "ERR_B"]],
    ["anew after an attempt that went well", ["ERR_A", "ERR_A", "", "ERR_A"], ["ERR_A", "ERR_A"]],
    ["no more after an attempt that only names its pauses", ["ERR_A", "pauses", "ERR_A"], ["ERR_A"]],
    ["anew when the peer had been reached", ["ERR_A", "reached ERR_A", "ERR_A"], ["ERR_A", "ERR_A"]],
  ])("is told %s", async (_how, ends, told) => {
    expect(await saidOf(ends, 100)).toEqual(told);
  });

  it("that lasts is told again once a minute", async () => {
    const hour = Array<string>(3600 / 5 + 1).fill("ERR_A");
    expect(await saidOf(hour, 5000)).toHaveLength(61);
  });
});

describe("the pauses", () => {
  afterEach(() => vi.restoreAllMocks());

  /** How long it would pause at most after tries 1, 2, …, 12, each of which takes `lastsMs`. */
  async function pausesAfter(attempt: Parameters<typeof keepTrying>[0], lastsMs = 0): Promise<number[]> {
    const stop = new AbortController();
    const slept: number[] = [];
    let now = 0;
    vi.spyOn(performance, "now").mockImplementation(() => (now += lastsMs));
    vi.spyOn(Math, "random").mockReturnValue(0.999_999);
    vi.mocked(sleep).mockImplementation(async (ms = 0) => {
      slept.push(ms);
      if (slept.length === 12) stop.abort();
    });
    await keepTrying(attempt, () => {}, stop.signal);
    return slept;
  }

  it("grow to seconds after what may succeed by itself", async () => {
    const pauses = await pausesAfter(async () => {
      throw new OnionhookError("ERR_TEST", "away", { retryable: true });
    });
    expect(pauses.slice(0, 3)).toEqual([100, 200, 400]);
    expect(pauses.at(-1)).toBe(5000);
    expect(await pausesAfter(async () => {})).toEqual(pauses);
    expect(await pausesAfter(() => Promise.reject(new Error("a library's")))).toEqual(pauses);
  });

  it("grow to a minute after what somebody must mend, and no further", async () => {
    const pauses = await pausesAfter(async () => {
      throw new OnionhookError("ERR_TEST", "refused");
    });
    expect(pauses.slice(0, 3)).toEqual([500, 1000, 2000]);
    expect(pauses.at(-1)).toBe(60_000);
  });

  it("begin anew after an attempt that lasted, but not when somebody must mend what ended it", async () => {
    expect(await pausesAfter(async () => {}, 11_000)).toEqual(Array<number>(12).fill(100));
    const superseded = () => Promise.reject(new OnionhookError("ERR_TEST", "superseded"));
    expect((await pausesAfter(superseded, 11_000)).at(-1)).toBe(60_000);
  });

  it("are the attempt's own when it names some", async () => {
    const pauses = await pausesAfter(async () => ({ firstMs: 7, capMs: 20 }));
    expect(pauses.slice(0, 4)).toEqual([7, 14, 20, 20]);
  });
});
