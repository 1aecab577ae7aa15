import type { Report } from "../shared/report.ts";
import type { EdgeConfig, Recipient } from "./config.ts";
import type { Keyring } from "./keyring.ts";
import type { OutboxSql } from "./outbox-sql.ts";

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
