import { expect, test } from "vitest";
import { fnv1a } from "../../shared/fnv1a.ts";

/** Of the authors' own test suite, http://www.isthe.com/chongo/src/fnv/test_fnv.c: one byte, one code point. */
test.for([
  ["", 0x811c9dc5],
  ["a", 0xe40c292c],
  ["b", 0xe70c2de5],
  ["foobar", 0xbf9cf968],
  ["chongo was here!\n", 0xd49930d5],
] as const)("FNV-1a of %j", ([text, hash]) => {
  expect(fnv1a(text)).toBe(hash);
});

test("spreads names that differ in their ends over few parts", () => {
  const parts = Array.from({ length: 1000 }, (_, index) => fnv1a(`repository-${index}`) % 4);
  for (const part of [0, 1, 2, 3]) {
    const share = parts.filter((each) => each === part).length;
    expect(share).toBeGreaterThan(150);
    expect(share).toBeLessThan(350);
  }
});
