import type { Build } from "./journal.ts";
import { subjectOf } from "./rules.ts";

/**
 * What a command gets of our own environment: enough to find programs, and no secret. ONIONHOOK_RUN is the
 * mark by which `onionhook dev` finds what a killed builder left behind.
 */
const INHERITED = ["PATH", "HOME", "LANG", "TZ", "ONIONHOOK_RUN"];

/** Payload fields reach a command as a file and as environment variables, never as arguments. */
export function environmentOf(build: Build, payload: string): Record<string, string> {
  const subject = subjectOf(build);
  const ours = {
    ONIONHOOK_DELIVERY: build.delivery,
    ONIONHOOK_EVENT: subject.event,
    ONIONHOOK_STREAM: build.stream,
    ONIONHOOK_SEQ: String(build.seq),
    ONIONHOOK_PAYLOAD: payload,
    ONIONHOOK_REPOSITORY: subject.repository,
    ONIONHOOK_REF: subject.ref,
    ONIONHOOK_SHA: subject.sha,
  };
  const inherited = INHERITED.map((name) => [name, process.env[name]] as const);
  const all = [...inherited, ...Object.entries(ours)];
  return Object.fromEntries(
    all.flatMap(([name, value]) => (isEnvironmentValue(value) ? [[name, value]] : [])),
  );
}

/** Characters. Linux takes 128 KiB a variable; refs and names have under 300. */
const MAX_VALUE_LENGTH = 4096;

/** What cannot stand in an environment is left out, and can be read from the payload. */
function isEnvironmentValue(value: string | undefined): value is string {
  return value !== undefined && value.length <= MAX_VALUE_LENGTH && !value.includes("\0");
}
