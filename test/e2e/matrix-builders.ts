/** The two builders of the matrix, so that one suite can be told of both. */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { SerializerId } from "../../shared/wamp/serializers.ts";
import { type AutobahnBuilder, startAutobahn } from "../helpers/autobahn.ts";
import type { Body } from "../helpers/bodies.ts";
import { eventually } from "../helpers/until.ts";
import type { Part } from "../helpers/part.ts";
import type { Rig } from "../helpers/rig.ts";

/** Event of the bodies that our builder's rule keeps, so that they can be compared even where no signature tells. */
export const KEPT_EVENT = "unicode";

export interface Sent extends Body {
  delivery: string;
  /** The body as the edge took it, where it had to rewrite it. */
  altered?: Uint8Array;
}

export interface MatrixBuilder {
  /** Resolves when it listens. */
  start(): Promise<void>;
  /** As a crash does. */
  kill(): Promise<void>;
  /** Delivery ids as they came, from its first start on. */
  came(): readonly string[];
  /** Throws when what came of this delivery is not what was sent. */
  check(sent: Sent): void;
}

/** Name of each kind, and of its recipient and stream at the edge. */
export const BUILDERS = [
  { title: "our builder", recipient: "ours", receipts: true, make: ourBuilder },
  { title: "Autobahn|Python's builder", recipient: "autobahn", receipts: false, make: autobahnBuilder },
] as const;

/** Milliseconds until a builder listens, on two cores that tests share. */
const START_MS = 60_000;

export const builderName = (recipient: string) => `${recipient}-builder`;
export const relayName = (recipient: string) => `${recipient}-relay`;

function ourBuilder(rig: Rig, recipient: string): MatrixBuilder {
  const name = builderName(recipient);
  const kept = join(rig.folder, "kept");
  mkdirSync(kept);
  let part: Part | undefined;
  const listening = () =>
    part?.events.filter(({ event, to }) => event === "connected" && to === "router").length ?? 0;
  const opened = () => part?.events.filter(({ event }) => event === "opened") ?? [];
  return {
    async start() {
      const before = listening();
      if (part) part.start();
      else
        part = rig.startBuilder(name, {
          box_key_file: rig.boxKeyOf(recipient),
          rules: [
            {
              name: "keep",
              event: KEPT_EVENT,
              run: [["sh", "-c", `cp "$ONIONHOOK_PAYLOAD" "${kept}/$ONIONHOOK_DELIVERY"`]],
            },
          ],
        });
      await eventually("our builder listens", () => listening() > before, START_MS);
    },
    async kill() {
      await part?.end("SIGKILL");
    },
    came: () => opened().map(({ delivery }) => String(delivery)),
    check({ event, delivery, bytes, altered }) {
      const came = opened().find((each) => each["delivery"] === delivery);
      // It checked GitHub's HMAC over the recovered bytes: they are those that were sent, every one.
      const signature = altered ? "altered" : "verified";
      if (came?.["signature"] !== signature) throw new Error(`${event} is ${String(came?.["signature"])}`);
      if (event === KEPT_EVENT && !readFileSync(join(kept, delivery)).equals(altered ?? bytes))
        throw new Error(`${event} has other bytes`);
    },
  };
}

function autobahnBuilder(rig: Rig, recipient: string, serializer: SerializerId): MatrixBuilder {
  const config = rig.configureBuilder(builderName(recipient), { box_key_file: rig.boxKeyOf(recipient) });
  const before: AutobahnBuilder[] = [];
  return {
    async start() {
      before.push(await startAutobahn(config, rig.router.url, serializer));
    },
    async kill() {
      await before.at(-1)?.stop();
    },
    came: () => before.flatMap(({ order }) => order),
    check({ event, delivery, bytes, altered }) {
      const came = before.map(({ received }) => received.get(delivery)).find((each) => each !== undefined);
      const { _delivery, ...kwargs } = came?.kwargs ?? {};
      const sent: unknown = JSON.parse(Buffer.from(altered ?? bytes).toString("utf8"));
      if (came?.topic !== `webhook.github.${event}`) throw new Error(`${event} came as ${came?.topic}`);
      if (!isDeepStrictEqual(kwargs, sent)) throw new Error(`${event} has other kwargs`);
    },
  };
}
