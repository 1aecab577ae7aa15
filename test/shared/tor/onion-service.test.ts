import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { clientAuthPublicKey, onionAddress } from "../../../shared/tor/onion-keys.ts";
import { publishOnionService, type OnionServiceOptions } from "../../../shared/tor/onion-service.ts";

const seed = Buffer.alloc(32, 1);
const reports: string[] = [];
const options: OnionServiceOptions = {
  control: { path: "/nonexistent/control" },
  seed,
  virtualPort: 80,
  target: { host: "127.0.0.1", port: 8080 },
  access: { clients: [clientAuthPublicKey(Buffer.alloc(32, 2))] },
  report: (event, fields) => reports.push(`${event} ${JSON.stringify(fields)}`),
};

describe("publishOnionService", () => {
  it("refuses to be open to anybody unless that is said", async () => {
    expect(() => publishOnionService({ ...options, access: { clients: [] } })).toThrow(
      expect.objectContaining({ code: "ERR_TOR_ONION_OPEN" }),
    );
    await publishOnionService({ ...options, access: { clients: [], open: true } }).close();
  });

  it.each([
    ["another machine", { target: { host: "192.0.2.1", port: 80 } }],
    ["a name", { target: { host: "localhost", port: 80 } }],
    ["a path with a space", { target: { path: "/a b" } }],
    ["port 0", { virtualPort: 0 }],
    ["a short seed", { seed: Buffer.alloc(31) }],
  ])("refuses %s", (_, wrong) => {
    expect(() => publishOnionService({ ...options, ...wrong })).toThrow(RangeError);
  });

  it("goes on trying without tor, says why once, and ends when it is closed", async () => {
    reports.length = 0;
    const service = publishOnionService(options);
    expect(service.address).toBe(onionAddress(seed));
    await sleep(350);
    expect(reports).toHaveLength(1);
    expect(reports[0]).toMatch(/^error .*ERR_TOR_CONTROL_UNREACHABLE/);
    expect(reports[0]).not.toMatch(/[a-z2-7]{56}/);
    await service.close();
    await expect(service.published).rejects.toMatchObject({ code: "ERR_TOR_ONION_CLOSED" });
  });

  it("ends when its signal aborts", async () => {
    const stopper = new AbortController();
    const service = publishOnionService({ ...options, signal: stopper.signal });
    stopper.abort();
    await expect(service.published).rejects.toMatchObject({ code: "ERR_TOR_ONION_CLOSED" });
  });
});
