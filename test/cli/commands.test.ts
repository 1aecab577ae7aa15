/** The command line as a user types it. */
import { createHmac } from "node:crypto";
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { onionAddress } from "../../shared/tor/onion-keys.ts";
import { ROOT } from "../helpers/peers.ts";

const ROUTER = onionAddress(Buffer.alloc(32, 7));

interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

function onionhook(...args: string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(process.execPath, [join(ROOT, "cli/main.ts"), ...args], (error, stdout, stderr) => {
      resolve({ code: Number(error?.code ?? 0), stdout, stderr });
    });
  });
}

/** A webhook's receiver, which keeps what it gets and says 202. */
async function startHook() {
  const seen: { request: IncomingMessage; body: string }[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request
      .on("data", (chunk: Buffer) => (body += chunk.toString()))
      .on("end", () => {
        seen.push({ request, body });
        response.writeHead(202, { "content-type": "application/json" }).end('{"seq":1}');
      });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  return { url: `http://127.0.0.1:${port}/hook`, seen, close: () => void server.close() };
}

describe("onionhook", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "oh-cli-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it("lists its commands, and refuses others", async () => {
    const help = await onionhook("--help");
    expect(help.code).toBe(0);
    for (const name of ["dev", "relay", "router", "builder", "send", "keys"])
      expect(help.stdout).toContain(`\n  ${name} `);
    const wrong = await onionhook("deploy");
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toContain("onionhook: error: no command deploy");
  });

  it.each(["dev", "relay", "router", "builder", "send", "keys"])(
    "%s has --help, --json, and refuses unknown options",
    async (name) => {
      const help = await onionhook(name, "--help");
      expect(help.code).toBe(0);
      expect(help.stdout).toContain(`usage: onionhook ${name}`);
      expect(help.stdout).toContain("--json");
      const wrong = await onionhook(name, "--no-such-option");
      expect(wrong.code).toBe(2);
      expect(wrong.stderr).toContain("(ERR_USAGE)");
    },
  );

  it.each([
    ["dev", "9000"],
    ["relay", "relay.json"],
    ["router", "router.json"],
    ["builder", "builder.json"],
    ["send", "push"],
    ["keys", "autobahn", "out.json"],
  ])("%s refuses %s, which npm may have left of an option", async (...args) => {
    const { code, stderr } = await onionhook(...args);
    expect(code).toBe(2);
    expect(stderr).toContain(`"${args.at(-1)}" is nothing that this command takes (ERR_USAGE)`);
    expect(stderr).toContain("npm start -- --once");
  });

  it.each([
    [["relay"], "--config is missing"],
    [["router"], "--config is missing"],
    [["builder"], "--config is missing"],
    [["send"], "--secret-file is missing"],
    [["keys", "autobahn"], "--out is missing"],
    [["keys"], "keys new, or keys autobahn"],
    [["dev", "--port", "http"], "--port http is no port"],
    [["dev", "--once", "--no-sample"], "--once waits for the sample"],
  ])("%j is wrong usage: exit code 2", async (args, message) => {
    const { code, stderr } = await onionhook(...args);
    expect(code).toBe(2);
    expect(stderr).toContain(message);
    expect(stderr).toContain("(ERR_USAGE)");
  });

  it.each(["relay", "router", "builder"])(
    "%s names every fault of its configuration at once",
    async (name) => {
      const path = join(folder, "config.json");
      writeFileSync(path, '{"surprise": 1}');
      const { code, stderr } = await onionhook(name, "--config", path);
      expect(code).toBe(1);
      expect(stderr).toContain("(ERR_CONFIG)");
      expect(stderr).toContain("surprise: is not a key of this file");
      expect(stderr).toMatch(
        name === "router" ? /crossbar: is missing/ : /data_dir: is missing[^]*router: is missing/,
      );
      expect(stderr).toContain("docs/configuration.md");
    },
  );

  it.each(["relay", "router", "builder"])("%s says which file it cannot read", async (name) => {
    const { code, stderr } = await onionhook(name, "--config", join(folder, "missing.json"));
    expect(code).toBe(1);
    expect(stderr).toMatch(/missing\.json cannot be read \(ENOENT\)/);
  });

  describe("keys new", () => {
    it("makes all keys, 0600, prints public halves only, and keeps them the next time", async () => {
      const first = await onionhook("keys", "new", "--dir", folder);
      expect(first.code).toBe(0);
      const files = readdirSync(folder);
      expect(files).toHaveLength(10);
      const contents = files.map((name) => readFileSync(join(folder, name), "utf8"));
      for (const name of files) expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600);
      for (const content of contents) expect(first.stdout).not.toContain(content.trim());
      expect(first.stdout).toContain("onionhook-box-public:");
      expect(first.stdout).toMatch(/[a-z2-7]{56}\.onion/);
      const second = await onionhook("keys", "new", "--dir", folder);
      expect(second.stdout).toContain("kept  ");
      expect(second.stdout.replaceAll("kept", "made")).toBe(first.stdout);
      expect(files.map((name) => readFileSync(join(folder, name), "utf8"))).toEqual(contents);
    });

    it("makes only those that are named, as JSON for programs", async () => {
      const { stdout } = await onionhook(
        "keys",
        "new",
        "builder-box",
        "builder-wamp",
        "--dir",
        folder,
        "--json",
      );
      const made = stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as { name: string; public: object });
      expect(made.map(({ name }) => name)).toEqual(["builder-box", "builder-wamp"]);
      expect(Object.keys(made[1]?.public ?? {})).toEqual(["key", "crossbar"]);
      expect(readdirSync(folder)).toHaveLength(2);
      const wrong = await onionhook("keys", "new", "bulider-box", "--dir", folder);
      expect(wrong.code).toBe(2);
      expect(wrong.stderr).toContain("one of: edge-box builder-box");
    });

    it("names the folder that it cannot make", async () => {
      const file = join(folder, "file");
      writeFileSync(file, "");
      const dir = join(file, "keys");
      const { code, stderr } = await onionhook("keys", "new", "relay-wamp", "--dir", dir);
      expect(code).toBe(1);
      expect(stderr).toContain(`${dir} cannot be made (ENOTDIR) (ERR_KEY_FILE)`);
      expect(stderr).toContain(`install -d -m 700 -o ${process.geteuid?.()} ${dir}`);
    });
  });

  describe("keys tor-client", () => {
    it("writes what the Tor of relay or builder needs, 0600, and never over another file", async () => {
      const keys = join(folder, "keys");
      await onionhook("keys", "new", "relay-onion", "router-onion", "--dir", keys);
      const write = () =>
        onionhook("keys", "tor-client", "relay-onion", "--dir", keys, "--onion", ROUTER, "--out", folder);
      const { code, stdout } = await write();
      expect(code).toBe(0);
      const file = join(folder, "relay-onion.auth_private");
      expect(stdout).toContain(file);
      expect(statSync(file).mode & 0o777).toBe(0o600);
      const text = readFileSync(file, "utf8");
      expect(text.split(":")[0]).toBe(ROUTER.replace(".onion", ""));
      expect(text).toMatch(/^[a-z2-7]{56}:descriptor:x25519:[A-Z2-7]{52}\n$/);
      expect(stdout).not.toContain(text.trim().split(":")[3]);
      expect((await write()).stderr).toContain("exists and is not overwritten");
    });

    it("says that there is no such folder, and makes none", async () => {
      await onionhook("keys", "new", "relay-onion", "--dir", folder);
      const out = join(folder, "missing");
      const args = ["keys", "tor-client", "relay-onion", "--dir", folder, "--onion", ROUTER, "--out", out];
      const { code, stderr } = await onionhook(...args);
      expect(code).toBe(1);
      expect(stderr).toMatch(/auth_private cannot be written: its folder does not exist \(ERR_KEY_FILE\)/);
      expect(stderr).toContain(`mkdir -p -m 700 ${out}`);
    });

    it.each([
      [["tor-client", "relay-wamp"], "one of: relay-onion builder-onion"],
      [["tor-client"], "one of: relay-onion builder-onion"],
      [["tor-client", "relay-onion", "builder-onion"], "is nothing that this command takes"],
      [["tor-service", "relay"], "is nothing that this command takes"],
    ])("%j is wrong usage", async (args, message) => {
      const { code, stderr } = await onionhook("keys", ...args, "--out", folder);
      expect(code).toBe(2);
      expect(stderr).toContain(message);
    });

    it.each([
      ["another name", "example.org"],
      ["one of version 2", "expyuzz4wqqyqhjn.onion"],
      ["one with a wrong character", ROUTER.replace(/^./, (first) => (first === "a" ? "b" : "a"))],
      // The version is in the last 8 bits: `d` for 3.
      ["one of another version", ROUTER.replace(/d\.onion$/, "e.onion")],
    ])("refuses what is no onion address, %s, and does not repeat the key", async (_what, onion) => {
      await onionhook("keys", "new", "relay-onion", "--dir", folder);
      const args = ["keys", "tor-client", "relay-onion", "--dir", folder, "--out", folder];
      const { code, stdout, stderr } = await onionhook(...args, "--onion", onion);
      expect(code).toBe(2);
      expect(stderr).toContain("--onion is no onion address (ERR_USAGE)");
      const [, secret = "none"] = readFileSync(join(folder, "relay-onion.key"), "utf8").trim().split(":");
      expect(stdout + stderr).not.toContain(secret);
    });
  });

  describe("keys tor-service", () => {
    it("writes a HiddenServiceDir with the address and the clients of a router.json", async () => {
      const made = await onionhook("keys", "new", "router-onion", "relay-onion", "--dir", folder, "--json");
      const [onion, relay] = made.stdout
        .trim()
        .split("\n")
        .map((line) => (JSON.parse(line) as { public: Record<string, string> }).public);
      const config = join(folder, "router.json");
      writeFileSync(
        config,
        JSON.stringify({
          crossbar: "crossbar.json",
          onion: {
            control: "unix:/run/tor/control",
            key_file: "router-onion.key",
            clients: { relay: relay?.["key"] },
          },
        }),
      );
      const out = join(folder, "hs");
      const written = await onionhook("keys", "tor-service", "--config", config, "--out", out, "--json");
      expect(JSON.parse(written.stdout)).toEqual({
        folder: out,
        address: onion?.["address"],
        clients: ["relay"],
      });
      expect(readFileSync(join(out, "hostname"), "utf8")).toBe(`${onion?.["address"]}\n`);
      expect(readFileSync(join(out, "authorized_clients", "relay.auth"), "utf8")).toBe(
        `${relay?.["auth"]}\n`,
      );
      expect(statSync(out).mode & 0o777).toBe(0o700);
      expect(statSync(join(out, "hs_ed25519_secret_key")).mode & 0o777).toBe(0o600);
      const again = await onionhook("keys", "tor-service", "--config", config, "--out", out);
      expect(again.code).toBe(1);
      expect(again.stderr).toContain("is not empty, and nothing in it is overwritten (ERR_KEY_FILE)");
    });
  });

  describe("keys autobahn", () => {
    it("writes what Autobahn|Python needs, 0600, and never over another file", async () => {
      const keys = join(folder, "keys");
      const made = await onionhook("keys", "new", "--dir", keys, "--json");
      const edge = made.stdout
        .split("\n")
        .map((line) => JSON.parse(line || "{}") as { name?: string; public?: { key: string } })
        .find(({ name }) => name === "edge-box");
      const config = join(folder, "builder.json");
      writeFileSync(
        config,
        JSON.stringify({
          data_dir: "builder",
          tor: "127.0.0.1:9050",
          rules: [],
          router: {
            url: `ws://${ROUTER}/`,
            realm: "onionhook",
            authid: "builder",
            key_file: "keys/builder-wamp.key",
          },
          box_key_file: "keys/builder-box.key",
          edge_box_public: edge?.public?.key,
        }),
      );
      const out = join(folder, "autobahn.json");
      const written = await onionhook("keys", "autobahn", "--config", config, "--out", out);
      expect(written.code).toBe(0);
      expect(statSync(out).mode & 0o777).toBe(0o600);
      expect(JSON.parse(readFileSync(out, "utf8"))).toEqual({
        url: `ws://${ROUTER}/`,
        realm: "onionhook",
        authid: "builder",
        cryptosign_seed: expect.stringMatching(/^[0-9a-f]{64}$/),
        keyring: [
          {
            uri: "webhook.github.",
            responder_priv: expect.stringMatching(/^.{43}=$/),
            originator_pub: edge?.public?.key.split(":")[1],
          },
        ],
      });
      const again = await onionhook("keys", "autobahn", "--config", config, "--out", out);
      expect(again.code).toBe(1);
      expect(again.stderr).toContain("exists and is not overwritten");
    });
  });

  describe("send", () => {
    it("signs and posts as GitHub does", async () => {
      const secretFile = join(folder, "webhook.key");
      writeFileSync(secretFile, "It's a Secret to Everybody\n", { mode: 0o600 });
      const payload = join(folder, "payload.json");
      writeFileSync(payload, '{"zen":"Keep it logically awesome."}');
      const hook = await startHook();
      try {
        const { code, stdout } = await onionhook(
          "send",
          "--event",
          "ping",
          "--file",
          payload,
          "--url",
          hook.url,
          "--secret-file",
          secretFile,
          "--json",
        );
        expect(code).toBe(0);
        expect(JSON.parse(stdout)).toMatchObject({ event: "ping", status: 202, answer: { seq: 1 } });
      } finally {
        hook.close();
      }
      const [{ request, body } = { request: undefined, body: "" }] = hook.seen;
      expect(body).toBe(readFileSync(payload, "utf8"));
      const hmac = createHmac("sha256", "It's a Secret to Everybody").update(body).digest("hex");
      expect(request?.headers).toMatchObject({
        "content-type": "application/json",
        "x-github-event": "ping",
        "x-github-delivery": expect.stringMatching(/^[0-9a-f-]{36}$/),
        "x-hub-signature-256": `sha256=${hmac}`,
        "user-agent": expect.stringMatching(/^GitHub-Hookshot\//),
      });
    });

    it("makes each example another body, by the member sent_at", async () => {
      const secretFile = join(folder, "webhook.key");
      writeFileSync(secretFile, "It's a Secret to Everybody\n", { mode: 0o600 });
      const hook = await startHook();
      try {
        for (const _ of [1, 2]) await onionhook("send", "--url", hook.url, "--secret-file", secretFile);
      } finally {
        hook.close();
      }
      const times = hook.seen.map(({ body }) => (JSON.parse(body) as { sent_at?: string }).sent_at);
      expect(times).toEqual([expect.stringMatching(/^\d{4}-.*Z$/), expect.stringMatching(/^\d{4}-.*Z$/)]);
      expect(times[0]).not.toBe(times[1]);
    });

    it("says when nobody answers, and when there is no example of an event", async () => {
      const secretFile = join(folder, "webhook.key");
      writeFileSync(secretFile, "It's a Secret to Everybody\n", { mode: 0o600 });
      const nobody = await onionhook("send", "--url", "http://127.0.0.1:1/", "--secret-file", secretFile);
      expect(nobody.code).toBe(1);
      expect(nobody.stderr).toContain("does not answer (ERR_EDGE_UNREACHABLE)");
      const unknown = await onionhook("send", "--event", "birthday", "--secret-file", secretFile);
      expect(unknown.stderr).toContain("there is no example of the event birthday");
    });
  });
});
