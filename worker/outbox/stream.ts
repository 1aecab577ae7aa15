import { describeError, OnionhookError } from "../../shared/errors.ts";
import type { Report } from "../../shared/report.ts";
import type { EdgeConfig, Recipient } from "../config.ts";
import type { Keyring } from "../keyring.ts";
import type { EventRow } from "./events.ts";
import type { OutboxSql } from "./sql.ts";

/** What belongs to one stream of one recipient. */
export interface Stream {
  readonly name: string;
  readonly config: EdgeConfig;
  /** Undefined when the configuration does not name it any more; then there are no keys either. */
  readonly recipient: Recipient | undefined;
  readonly keyring: Keyring | undefined;
  readonly sql: OutboxSql;
  readonly report: Report;
}

/** What a row is left out for that lacks bytes. */
export function rowDamaged(): OnionhookError {
  return new OnionhookError("ERR_ROW_DAMAGED", "a stored event lacks bytes and is left out", {
    hint: "redeliver it from the webhook's settings at GitHub",
  });
}

/** Says which event is left out, and why. */
export function reportLeftOut(
  { name, report }: Stream,
  { seq, delivery }: EventRow,
  error: OnionhookError,
): void {
  report("error", { ...describeError(error), stream: name, seq, delivery });
}
