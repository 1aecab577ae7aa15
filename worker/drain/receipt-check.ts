import { decodeBase64 } from "../../shared/bytes.ts";
import { OnionhookError } from "../../shared/errors.ts";
import { openReceipt } from "../../shared/receipt.ts";
import type { Keyring } from "../keyring.ts";
import type { EventRow } from "../outbox/events.ts";

/** Why `receipt` (base64) is not the recipient's for exactly this event; undefined when it is. */
export function receiptFault(
  receipt: string,
  stream: string,
  row: EventRow,
  keyring: Keyring | undefined,
): string | undefined {
  // Rows of before there were several keys do not name theirs.
  const ids = row.pair_key === null ? (keyring?.ids ?? []) : [row.pair_key];
  let fault: string | undefined = "ERR_KEY_REVOKED";
  for (const id of ids) {
    const pair = keyring?.byId(id);
    if (!pair) continue;
    fault = faultUnder(pair.shared, receipt, stream, row);
    if (fault === undefined) return undefined;
  }
  return fault;
}

function faultUnder(
  shared: Uint8Array,
  receipt: string,
  stream: string,
  { seq, delivery, tag }: EventRow,
): string | undefined {
  try {
    const said = openReceipt(decodeBase64(receipt), shared);
    const isThis =
      said.stream === stream && said.seq === seq && said.delivery === delivery && said.tag === tag;
    return isThis ? undefined : "ERR_RECEIPT";
  } catch (error) {
    return error instanceof OnionhookError ? error.code : "ERR_RECEIPT";
  }
}
