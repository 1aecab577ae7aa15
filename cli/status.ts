import { statusAnswer } from "../relay/control/messages.ts";
import type { Status } from "../relay/health.ts";
import type { HopStatus } from "../relay/status.ts";
import { type Command, EXIT } from "./command.ts";
import { makeControlClient, RELAY_OPTIONS } from "./control-client.ts";
import { when } from "./moment.ts";
import { table } from "./table.ts";

export const status: Command = {
  name: "status",
  summary: "how a running relay is: its hops, its queue, its health",
  usage: `status [--config FILE | --socket PATH]

  Exits 0 while the relay is healthy, and 1 when events do not flow.`,
  options: RELAY_OPTIONS,
  async run(call) {
    const now = await makeControlClient(call).get("/status", statusAnswer);
    call.output.result(now, ...statusLines(now));
    return now.healthy ? EXIT.ok : EXIT.failed;
  },
};

function statusLines(now: Status): string[] {
  return [
    ...table([
      ["HOP", "STREAM", "STATE", "SINCE", "LAST EVENT"],
      ...now.hops.map((hop) => hopRow(hop, now.at)),
    ]),
    "",
    ...table(factRows(now)),
    "",
    ...(now.healthy ? ["healthy"] : ["NOT HEALTHY", ...now.reasons.map((reason) => `  ${reason}`)]),
    ...now.attention.map((sentence) => `attention: ${sentence}`),
  ];
}

function hopRow({ hop, stream, up, since, lastEventAt }: HopStatus, now: number): string[] {
  return [
    hop,
    stream ?? "",
    up ? "up" : "DOWN",
    when(since, now),
    lastEventAt === undefined ? "none yet" : when(lastEventAt, now),
  ];
}

function factRows(now: Status): string[][] {
  const { at, startedAt, queue, oldestAt, acceptedAt, canaries, lastError } = now;
  const counts = queue && Object.entries(queue.counts).map(([state, count]) => `${count} ${state}`);
  const rows = [
    ["running since", when(startedAt, at)],
    ["queue", counts?.join(", ") ?? "its store is away"],
    ["oldest undone", oldestAt === undefined ? "none" : when(oldestAt, at)],
    ["last done", acceptedAt === undefined ? "none yet" : when(acceptedAt, at)],
  ];
  for (const { stream, at: cameAt, ms, lostAt, where } of canaries) {
    if (cameAt !== undefined) rows.push([`test of ${stream}`, `${when(cameAt, at)}, took ${ms ?? 0} ms`]);
    if (lostAt !== undefined)
      rows.push([`test of ${stream}`, `LOST ${when(lostAt, at)}, last seen: ${where ?? ""}`]);
  }
  if (lastError) {
    const { at: erredAt, to, stream, code, message, hint, overAt } = lastError;
    const peer = stream === undefined ? to : `${to} (${stream})`;
    rows.push([
      "last error",
      `${when(erredAt, at)}${peer === undefined ? "" : ` ${peer}:`} ${message} (${code})`,
    ]);
    if (overAt !== undefined) rows.push(["", `over since ${when(overAt, at)}`]);
    else if (hint !== undefined) rows.push(["", `hint: ${hint}`]);
  }
  return rows;
}

/** The hops in one line, for systemd: `edge up, router DOWN, builder DOWN`. */
export function hopsLine(hops: readonly HopStatus[]): string {
  return hops
    .map(({ hop, stream, up }) => `${hop}${stream === undefined ? "" : ` (${stream})`} ${up ? "up" : "DOWN"}`)
    .join(", ");
}
