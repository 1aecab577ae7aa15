import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { clientAuthPublicKey, onionAddress, onionKeyBlob } from "../../../shared/tor/onion-keys.ts";
import { publishOnionService, type OnionServiceOptions } from "../../../shared/tor/onion-service.ts";
import { until } from "../../helpers/until.ts";
import { type FakeTor, fakeTorFolder, startFakeTor } from "./fake-tor.ts";

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
    ["a path that starts nowhere", { target: { path: "a" } }],
    ["port 0", { virtualPort: 0 }],
    ["a short seed", { seed: Buffer.alloc(31) }],
  ])("refuses %s", (_, wrong) => {
    expect(() => publishOnionService({ ...options, ...wrong })).toThrow(RangeError);
  });

  it.each([
    ["a space", "/a b"],
    ["a character whose low byte is a space", "/a\u0120b"],
    ["a character whose low byte is a line's end", "/a\u010aSIGNAL\u0120HALT"],
    ["the end of a line", "/a\r\nb"],
  ])("refuses a path with %s, and says what to do", (_, path) => {
    expect(() => publishOnionService({ ...options, target: { path } })).toThrow(
      expect.objectContaining({
        code: "ERR_TOR_ONION_TARGET",
        hint: expect.stringContaining("another path"),
      }),
    );
  });

  it("goes on trying without tor, says why once, and ends when it is closed", async () => {
    reports.length = 0;
    const service = publishOnionService(options);
    expect(service.address).toBe(onionAddress(seed));
    await until(() => expect(reports).toHaveLength(1));
    // Several tries more.
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

  describe("to a tor that does not know what it is asked for", () => {
    let folder: Awaited<ReturnType<typeof fakeTorFolder>>;
    let tor: FakeTor;
    beforeEach(async () => {
      folder = await fakeTorFolder();
      tor = await startFakeTor(folder.path, {
        answer(line) {
          if (line.startsWith("ADD_ONION ")) return "512 Invalid argument\r\n";
          if (line.startsWith("GETINFO ")) return "250-status/bootstrap-phase=\r\n250 OK\r\n";
          return undefined;
        },
      });
    });
    afterEach(async () => {
      await tor.close();
      await folder.remove();
    });

    it.each([
      ["the proof-of-work defence", { pow: { queueRate: 1, queueBurst: 2 } }, "ERR_TOR_POW", "0.4.9.2"],
      ["anything else", {}, "ERR_TOR_CONTROL", "Tor's log"],
    ])("%s: says so, with the remedy and without the key", async (_, asked, code, remedy) => {
      reports.length = 0;
      const service = publishOnionService({ ...options, ...asked, control: tor.address });
      await until(() => expect(reports).toHaveLength(1));
      await service.close();
      expect(reports[0]).toContain(code);
      expect(reports[0]).toContain(remedy);
      expect(reports[0]).not.toContain(onionKeyBlob(seed).slice("ED25519-V3:".length));
    });

    it("asks for each client once, and for limits only where they are said", async () => {
      const service = publishOnionService({
        ...options,
        control: tor.address,
        access: { clients: [...options.access.clients, ...options.access.clients] },
        maxStreams: 8,
        pow: { queueRate: 1, queueBurst: 2 },
      });
      const asked = () => tor.lines.find((line) => line.startsWith("ADD_ONION ")) ?? "";
      await until(() => expect(asked()).not.toBe(""));
      await service.close();
      expect(
        asked()
          .replace(onionKeyBlob(seed), "KEY")
          .replace(/(?<=ClientAuthV3=)[A-Z2-7]{52}/g, "CLIENT"),
      ).toBe(
        "ADD_ONION KEY Flags=DiscardPK,V3Auth,MaxStreamsCloseCircuit MaxStreams=8 PoWDefensesEnabled=1 PoWQueueRate=1 PoWQueueBurst=2 Port=80,127.0.0.1:8080 ClientAuthV3=CLIENT",
      );
    });
  });

  describe("and its update()", () => {
    const id = onionAddress(seed).replace(/\.onion$/, "");
    const upload = `650 HS_DESC UPLOAD ${id} UNKNOWN $AA~a DESCRIPTOR\r\n`;
    const uploaded = `650 HS_DESC UPLOADED ${id} UNKNOWN $AA~a\r\n`;
    const clients = [2, 3].map((byte) => clientAuthPublicKey(Buffer.alloc(32, byte)));
    let folder: Awaited<ReturnType<typeof fakeTorFolder>>;
    let tor: FakeTor;
    /** What tor says of its uploads after each ADD_ONION. */
    let afterAdding: string[];
    let phase: string;
    beforeEach(async () => {
      reports.length = 0;
      phase = "";
      afterAdding = [];
      folder = await fakeTorFolder();
      tor = await startFakeTor(folder.path, {
        answer(line) {
          if (line.startsWith("ADD_ONION "))
            return `250-ServiceID=${id}\r\n250 OK\r\n${afterAdding.shift() ?? ""}`;
          if (line === "GETINFO circuit-status")
            return `250+circuit-status=\r\n${`1 BUILT HS_STATE=HSSI_ESTABLISHED ${id}\r\n`.repeat(6)}.\r\n250 OK\r\n`;
          if (line.startsWith("GETINFO ")) return `250-status/bootstrap-phase=${phase}\r\n250 OK\r\n`;
          return undefined;
        },
      });
    });
    afterEach(async () => {
      vi.useRealTimers();
      await tor.close();
      await folder.remove();
    });

    const publish = () => publishOnionService({ ...options, control: tor.address });
    /** The verbs of what was asked after authentication. */
    const asked = () =>
      tor.lines.map((line) => line.split(" ")[0]).filter((verb) => verb?.endsWith("_ONION"));
    /** Milliseconds, below the two seconds between two looks at the introduction points. */
    const AT_ONCE = { timeout: 1500 };

    it("takes the service back at once, and adds it anew", async () => {
      afterAdding = [upload + uploaded, upload + uploaded];
      const service = publish();
      await service.published;
      service.update({ clients });
      await expect.poll(asked, AT_ONCE).toEqual(["ADD_ONION", "DEL_ONION", "ADD_ONION"]);
      await service.published;
      await service.close();
      expect(reports).toEqual(["published {}", 'clients {"allowed":2}', "unpublished {}"]);
    });

    it("does so while the descriptor is not up yet, and then says that it is published", async () => {
      afterAdding = ["", upload + uploaded];
      const service = publish();
      await until(() => expect(asked()).toEqual(["ADD_ONION"]));
      service.update({ clients });
      await expect.poll(asked, AT_ONCE).toEqual(["ADD_ONION", "DEL_ONION", "ADD_ONION"]);
      await service.published;
      await service.close();
      expect(reports).toEqual(["published {}", "unpublished {}"]);
    });

    it.each([
      ["", "though Tor is ready"],
      [
        'NOTICE BOOTSTRAP PROGRESS=45 TAG=conn_or SUMMARY="Connecting to a relay"',
        "Tor is not ready: 45 % (conn_or: Connecting to a relay)",
      ],
    ])("says when the descriptor is not up in 60 s, and how far Tor is: %j", async (said, why) => {
      phase = said;
      vi.useFakeTimers();
      const service = publish();
      await until(() => expect(asked()).toEqual(["ADD_ONION"]));
      await vi.advanceTimersByTimeAsync(60_000);
      vi.useRealTimers();
      const errors = () => reports.filter((line) => line.startsWith("error "));
      await until(() => expect(errors()).toHaveLength(1));
      expect(errors()[0]).toContain("ERR_TOR_ONION_UPLOAD");
      expect(errors()[0]).toContain(`the onion service's descriptor was not uploaded in 60 s: ${why}`);
      await service.close();
    });

    it("does not take the upload of what was taken back for that of the new descriptor", async () => {
      afterAdding = [upload, uploaded];
      const service = publish();
      await until(() => expect(asked()).toEqual(["ADD_ONION"]));
      service.update({ clients });
      await expect.poll(asked, AT_ONCE).toEqual(["ADD_ONION", "DEL_ONION", "ADD_ONION"]);
      await sleep(100);
      expect(reports).toEqual([]);
      tor.say(upload + uploaded);
      await service.published;
      await service.close();
    });
  });
});
