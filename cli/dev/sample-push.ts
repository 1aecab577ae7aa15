import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { OnionhookError } from "../../shared/errors.ts";
import { readSecretFile } from "../../shared/host/key-file.ts";
import { examplePayload } from "../example-payload.ts";
import { nowMs, type Output } from "../output.ts";
import { post } from "../send.ts";
import { makeJourney } from "./journey.ts";
import type { Layout } from "./layout.ts";
import type { Stage } from "./stage.ts";

/** The sample's way takes under a second; its build may take the rule's own time limit. */
const SAMPLE_MS = 90_000;

/**
 * Sends one of GitHub's example pushes and tells its way; resolves with the exit of its build.
 * @throws OnionhookError `ERR_SAMPLE`, `ERR_EDGE_UNREACHABLE`
 */
export async function sendSample(
  webhook: string,
  layout: Layout,
  stage: Stage,
  output: Output,
): Promise<unknown> {
  const delivery = randomUUID();
  const journey = makeJourney(delivery, nowMs());
  stage.follow(journey);
  const short = `${delivery.slice(0, 8)}…`;
  const { watch } = stage;
  const about = (wanted: string) =>
    watch.until((_part, { event, ...fields }) => event === wanted && fields["delivery"] === delivery);

  const sent = await post(
    webhook,
    readSecretFile(layout.key("webhook").file),
    "push",
    examplePayload("push"),
    delivery,
  );
  if (sent.status !== 202) {
    throw new OnionhookError("ERR_SAMPLE", `the edge answered ${sent.status} to the sample push`, {
      hint: `look into ${join(layout.logs, "worker.log")}`,
    });
  }
  output.say(`sent      push ${short}   202   ${sent.ms.toFixed(0)} ms`);

  const late = sleep(SAMPLE_MS, undefined, { ref: false }).then(() => {
    throw new OnionhookError("ERR_SAMPLE", `the sample push was not built in ${SAMPLE_MS / 1000} s`, {
      hint: `is there a rule for push in ${join(layout.folder, "rules.json")}? The parts' logs are in ${layout.logs}`,
    });
  });
  const opened = await Promise.race([about("opened"), late]);
  const signature =
    opened["signature"] === "verified" ? "signature matches GitHub's bytes" : "signature not checked";
  output.say(
    `received  push ${short}   opened, ${signature}, seq ${String(opened["seq"])}, ${journey.since("opened")?.toFixed(0)} ms`,
  );
  const built = await Promise.race([about("built"), late]);
  output.say(
    `built     ${String(built["rule"])}   exit ${String(built["exit"])}, ${(Number(built["ms"]) / 1000).toFixed(1)} s`,
  );
  await Promise.race([about("done"), late]);
  output.say(`hops      ${journey.summary()}   (ms after sending)`);
  return built["exit"];
}
