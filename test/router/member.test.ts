import { describe, expect, it } from "vitest";
import { toFrame } from "../../router/member.ts";
import { serializers } from "../../shared/wamp/serializers.ts";

describe("a frame", () => {
  it.each(serializers)("on $id holds nothing in memory but itself, also beside a large one", (serializer) => {
    for (const size of [8 * 1024 * 1024, 0, 100]) {
      const frame = toFrame(serializer, [36, 1, 1, {}, Buffer.alloc(size, 7)]);
      expect(frame.byteLength).toBeGreaterThan(size);
      expect(frame.buffer.byteLength).toBe(frame.byteLength);
    }
  });
});
