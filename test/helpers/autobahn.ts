/** A builder written with Autobahn|Python alone, made from the file of `onionhook keys autobahn`. */
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { findPeer, howToGet, ROOT } from "./peers.ts";

export interface AutobahnEvent {
  topic: string;
  kwargs: Record<string, unknown>;
}

export interface AutobahnBuilder {
  /** Events by delivery id. */
  received: Map<string, AutobahnEvent>;
  stop(): Promise<void>;
}

const JOIN_MS = 30_000;

/** Resolves once it has subscribed. */
export async function startAutobahn(
  builderConfig: string,
  url: string,
  serializer: string,
): Promise<AutobahnBuilder> {
  const python = findPeer("autobahn");
  if (python === undefined) throw new Error(`Autobahn|Python is missing: ${howToGet("autobahn")}`);
  const folder = mkdtempSync(join(tmpdir(), "oh-autobahn-"));
  const keys = join(folder, "keys.json");
  execFileSync(process.execPath, [
    join(ROOT, "cli/main.ts"),
    "keys",
    "autobahn",
    "--config",
    builderConfig,
    "--out",
    keys,
  ]);
  const child = spawn(python, [join(ROOT, "test/peers/autobahn-builder.py"), keys, url, serializer], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const exited = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const received = new Map<string, AutobahnEvent>();
  const joined = new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`Autobahn|Python did not join\n${stderr}`)), JOIN_MS);
    createInterface({ input: child.stdout }).on("line", (line) => {
      const said = JSON.parse(line) as { joined?: string } & AutobahnEvent;
      if (said.joined === serializer) {
        clearTimeout(timer);
        resolve();
      } else received.set((said.kwargs["_delivery"] as { id: string }).id, said);
    });
    void exited.then(() => reject(new Error(`Autobahn|Python ended\n${stderr}`)));
  });
  await joined;
  return {
    received,
    async stop() {
      child.kill("SIGKILL");
      await exited;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
