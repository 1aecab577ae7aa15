import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { followBootstrap, readBootstrap, stuck } from "../../../shared/tor/bootstrap.ts";
import { connectControl } from "../../../shared/tor/control.ts";
import { fakeTorFolder, startFakeTor, type FakeTor } from "./fake-tor.ts";

const phase = (progress: number, tag: string, summary: string) =>
  `NOTICE BOOTSTRAP PROGRESS=${progress} TAG=${tag} SUMMARY="${summary}"`;
const problem = (reason: string, recommendation = "warn") =>
  `WARN BOOTSTRAP PROGRESS=5 TAG=conn SUMMARY="Connecting to a relay" WARNING="No route to host" REASON=${reason} COUNT=3 RECOMMENDATION=${recommendation} HOSTID="AAAA" HOSTADDR="192.0.2.1:9001"`;

describe("readBootstrap", () => {
  it("reads tor's own lines", () => {
    expect(readBootstrap(phase(14, "handshake", "Handshaking with a relay"))).toEqual({
      progress: 14,
      tag: "handshake",
      summary: "Handshaking with a relay",
    });
    expect(readBootstrap(problem("NOROUTE"))).toMatchObject({ progress: 5, problem: "NOROUTE" });
  });

  it("takes no problem that tor itself would not warn of", () => {
    expect(readBootstrap(problem("TIMEOUT", "ignore"))).not.toHaveProperty("problem");
  });

  it.each([
    "NOTICE CIRCUIT_ESTABLISHED",
    "NOTICE BOOTSTRAP TAG=conn",
    "NOTICE BOOTSTRAP PROGRESS=101 TAG=conn",
    "NOTICE BOOTSTRAP PROGRESS=-1",
    "",
  ])("leaves %j alone", (text) => {
    expect(readBootstrap(text)).toBeUndefined();
  });

  it("reads a word of the longest line in no time", () => {
    const before = performance.now();
    expect(readBootstrap(`${phase(7, "conn", "x")} ${"A".repeat(1024 * 1024)}`)?.progress).toBe(7);
    expect(performance.now() - before).toBeLessThan(1000);
  });

  it("passes on nothing that is not short and plain, and no address", () => {
    const long = readBootstrap(phase(1, "x".repeat(50), "y".repeat(100)));
    expect(long).toEqual({ progress: 1, tag: "", summary: "" });
    const odd = readBootstrap(phase(1, "a\u001bb", 'a\\"b\u001b[31m'));
    expect(odd).toEqual({ progress: 1, tag: "", summary: "" });
    expect(JSON.stringify(readBootstrap(problem("NOROUTE")))).not.toMatch(/192\.0\.2|AAAA/);
  });
});

it.each([
  [{ progress: 45, tag: "requesting_descriptors", summary: "Asking" }, "ERR_TOR_STARTING", /45 %.*Asking/],
  [{ progress: 5, tag: "conn", summary: "", problem: "NOROUTE" }, "ERR_TOR_STUCK", /5 % \(conn\), NOROUTE/],
  [{ progress: 5, tag: "", summary: "", problem: "SOMETHING_NEW" }, "ERR_TOR_STUCK", /SOMETHING_NEW/],
])("%o is told as %s, with a remedy", (state, code, message) => {
  expect(stuck(state)).toMatchObject({ code, message: expect.stringMatching(message), retryable: true });
  expect(stuck(state).hint).toMatch(/[.?]$/);
});

describe("followBootstrap", () => {
  let tor: FakeTor;
  let remove: () => Promise<void>;
  let now: string;
  const reports: [string, unknown][] = [];
  const report = (event: string, fields: unknown) => void reports.push([event, fields]);

  beforeEach(async () => {
    reports.length = 0;
    const folder = await fakeTorFolder();
    ({ remove } = folder);
    const answer = (line: string) =>
      line.startsWith("GETINFO") ? `250-status/bootstrap-phase=${now}\r\n250 OK\r\n` : undefined;
    tor = await startFakeTor(folder.path, { answer });
  });

  afterEach(async () => {
    await tor.close();
    await remove();
  });

  it("tells each step from where tor is up to 100, and each obstacle once", async () => {
    now = phase(5, "conn", "Connecting to a relay");
    const control = await connectControl(tor.address);
    const state = await followBootstrap(control, report);
    tor.say(`650 STATUS_CLIENT ${problem("NOROUTE")}\r\n650 STATUS_CLIENT ${problem("NOROUTE")}\r\n`);
    tor.say(`650 STATUS_CLIENT NOTICE CIRCUIT_ESTABLISHED\r\n`);
    tor.say(`650 STATUS_CLIENT ${phase(50, "loading_descriptors", "Loading")}\r\n`);
    tor.say(`650 STATUS_CLIENT ${phase(100, "done", "Done")}\r\n`);
    await vi.waitFor(() => expect(state().progress).toBe(100));
    expect(reports).toEqual([
      ["tor", { progress: 5, tag: "conn", summary: "Connecting to a relay" }],
      ["error", expect.objectContaining({ code: "ERR_TOR_STUCK", hint: expect.stringContaining("online") })],
      ["tor", { progress: 50, tag: "loading_descriptors", summary: "Loading" }],
      ["tor", { progress: 100, tag: "done", summary: "Done" }],
    ]);
    control.close();
    await control.closed;
  });

  it("says nothing of a tor that is ready", async () => {
    now = phase(100, "done", "Done");
    const control = await connectControl(tor.address);
    expect((await followBootstrap(control, report))().progress).toBe(100);
    expect(reports).toEqual([]);
    control.close();
    await control.closed;
  });
});
