/** Points in time as people read and write them. */
import { span } from "../relay/health.ts";
import { OnionhookError } from "../shared/errors.ts";

/** `3 min ago (2026-11-21T18:00:00Z)`; `in 3 min (…)` of what is to come. */
export function when(at: number, now: number): string {
  const iso = new Date(at).toISOString().replace(/\.\d+Z$/, "Z");
  return at > now ? `in ${span(at - now)} (${iso})` : `${span(now - at)} ago (${iso})`;
}

const UNIT_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
/** A date alone, or with a time, which may name its zone: what `Date.parse` reads everywhere the same. */
const ISO = /^\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?(?:Z|[+-]\d{2}:\d{2})?)?$/;

/**
 * Reads `90s`, `30m`, `2h`, `7d` (that long ago) or an ISO 8601 time (of this machine's zone when it names none).
 * @throws OnionhookError `ERR_USAGE`, naming `option`.
 */
export function parseMoment(text: string, option: string, now: number): Date {
  const [, amount, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  const ago = unit === undefined ? undefined : Number(amount) * (UNIT_MS[unit] ?? Number.NaN);
  const at = new Date(ago === undefined ? (ISO.test(text) ? Date.parse(text) : Number.NaN) : now - ago);
  if (!Number.isNaN(at.getTime())) return at;
  throw new OnionhookError("ERR_USAGE", `--${option} ${JSON.stringify(text)} is no point in time`, {
    hint: "30m, 2h, 7d (that long ago), or an ISO time such as 2026-11-21T18:00:00Z",
  });
}
