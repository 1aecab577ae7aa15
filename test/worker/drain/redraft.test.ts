import { reset, runInDurableObject } from "cloudflare:test";
import * as fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import { encodeUtf8 } from "../../../shared/bytes.ts";
import { open, seal, sealInPlace, sealTag } from "../../../shared/cryptobox.ts";
import type { DeliveryRecord } from "../../../shared/delivery.ts";
import { decodeEvent, encodeEvent } from "../../../shared/event.ts";
import { parseConfig } from "../../../worker/config.ts";
import { type OutboxSql, openOutboxSql } from "../../../worker/outbox/sql.ts";
import { redraft } from "../../../worker/drain/redraft.ts";
import type { Stream } from "../../../worker/outbox/stream.ts";
import { bindings, shared, STREAM } from "../parties.ts";
import { outbox } from "../stored.ts";

const TOPIC = "webhook.github.push";

afterEach(async () => {
  vi.restoreAllMocks();
  await reset();
});

describe("a stored event as the draft of another", () => {
  const space = fc.string({ unit: fc.constantFrom(" ", "\n", "\t"), maxLength: 5 });
  const body = fc
    .tuple(space, fc.dictionary(fc.string(), fc.jsonValue()), space, space)
    .map(([before, value, inside, after]) =>
      encodeUtf8(before + JSON.stringify(value, null, inside).replace(/\}$/, `${inside}}`) + after),
    );
  const seq = fc.oneof(fc.integer({ min: 1, max: 99 }), fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }));

  it("opens to the same body and the new record, whatever the body, in the bytes that a new event would have", async () => {
    await withStream((stream) =>
      fc.assert(
        fc.property(body, seq, fc.boolean(), (rawBody, newSeq, altered) => {
          const before = recordOf({ body_bytes: rawBody.length, altered });
          const row = store(stream.sql, seal(encodeEvent(TOPIC, before, rawBody), shared));
          const { delivery, finish } = redraft(stream, row);
          expect(delivery).toEqual(before);
          const after = { ...before, seq: newSeq, redelivery: true };
          const sealed = finish(after);
          sealInPlace(sealed, shared);
          expect(open(sealed, shared)).toEqual(encodeEvent(TOPIC, after, rawBody));
          expect(decodeEvent(TOPIC, open(sealed, shared)).rawBody).toEqual(rawBody);
        }),
        { numRuns: 300 },
      ),
    );
  });

  it.for([
    { name: "text", plaintext: "an event was here" },
    { name: "another record", plaintext: '{"kwargs":{"_delivery":{"v":2}}}' },
    { name: "braces without JSON", plaintext: "{{{ }}}" },
  ])("is refused when it is none: $name", async ({ plaintext }) => {
    await withStream((stream) => {
      const row = store(stream.sql, seal(encodeUtf8(plaintext), shared));
      expect(() => redraft(stream, row)).toThrow(expect.objectContaining({ code: "ERR_EVENT_FORMAT" }));
    });
  });
});

function recordOf(changes: Pick<DeliveryRecord, "body_bytes" | "altered">): DeliveryRecord {
  return {
    v: 1,
    id: "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    event: "push",
    hook_id: 292430182,
    received_at: "2026-11-21T18:00:00.000Z",
    stream: STREAM,
    seq: 9,
    redelivery: false,
    signature: `sha256=${"a".repeat(64)}`,
    ...changes,
  };
}

function store(sql: OutboxSql, sealed: Uint8Array) {
  const { length: bytes } = sealed;
  const seq = sql.nextSeq();
  const row = { seq, delivery: "delivery", topic: TOPIC, bytes, tag: sealTag(sealed), pair_key: "pair" };
  sql.insert(row, "body", sealed, 0);
  return row;
}

/** A stream of one pair of keys, in a real outbox. */
function withStream(use: (stream: Stream) => void): Promise<void> {
  const config = parseConfig(bindings);
  const pair = { id: "pair", shared };
  const keyring = { forTopic: () => pair, byId: () => pair, ids: ["pair"] };
  return runInDurableObject(outbox(), (_object, { storage }) =>
    use({
      name: STREAM,
      config,
      recipient: config.recipients.get(STREAM),
      keyring,
      sql: openOutboxSql(storage),
      report: () => {},
    }),
  );
}
