/** A client on Autobahn|Python with its own KeyRing: test/peers/keyring.py. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { encodeHex } from "../../../shared/bytes.ts";
import type { SerializerId } from "../../../shared/wamp/serializers.ts";
import { ROOT } from "../../helpers/peers.ts";
import type { World } from "./keyring-world.ts";

/** An entry of Autobahn's KeyRing: a prefix, and keys in base64. */
export type AutobahnKey = Readonly<Record<"uri", string>> & Readonly<Record<string, string>>;

export interface Command {
  readonly do: "subscribe" | "register" | "publish" | "call" | "nothing";
  readonly uri?: string;
  readonly match?: "exact" | "prefix";
  readonly args?: readonly unknown[];
  readonly kwargs?: Readonly<Record<string, unknown>>;
  /** The KeyRing from now on. */
  readonly ring?: string;
}

export interface AutobahnPeer {
  /** What came of it. Bytes are `{ bytes: HEX }`, both ways. */
  readonly tell: (command: Command) => Promise<Record<string, unknown>>;
  /** In the order of their coming. */
  readonly events: unknown[];
  readonly end: () => Promise<void>;
}

export async function startPeer(
  python: string,
  { url, seed }: World,
  serializer: SerializerId,
  rings: Readonly<Record<string, readonly AutobahnKey[]>>,
): Promise<AutobahnPeer> {
  const folder = mkdtempSync(join(tmpdir(), "oh-keyring-"));
  const file = join(folder, "config.json");
  const config = { url, serializer, realm: "onionhook", authid: "relay", seed: encodeHex(seed), rings };
  writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
  const child = spawn(python, [join(ROOT, "test/peers/keyring.py"), file], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (log += text));
  // Its end is told by `exited`.
  child.stdin.on("error", () => {});
  const exited = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const waiting = new Map<number, (said: Record<string, unknown>) => void>();
  const events: unknown[] = [];
  let last = 0;
  await new Promise<void>((resolve, reject) => {
    void exited.then(() => reject(new Error(`Autobahn|Python ended\n${log}`)));
    createInterface({ input: child.stdout }).on("line", (line) => {
      const { id, event, ...said } = JSON.parse(line) as Record<string, unknown>;
      if (said["joined"] === true) resolve();
      else if (event === undefined) waiting.get(Number(id))?.(said);
      else events.push(event);
    });
  });
  return {
    events,
    async tell(command) {
      last += 1;
      const { promise, resolve } = Promise.withResolvers<Record<string, unknown>>();
      waiting.set(last, resolve);
      child.stdin.write(`${JSON.stringify({ ...command, id: last })}\n`);
      const said = await Promise.race([promise, exited]);
      if (said === undefined || "failed" in said)
        throw new Error(`Autobahn|Python: ${said === undefined ? "ended" : String(said["failed"])}\n${log}`);
      return said;
    },
    async end() {
      child.kill("SIGKILL");
      await exited;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
