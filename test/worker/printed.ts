import { reset } from "cloudflare:test";
import { afterEach, beforeEach, vi } from "vitest";
import { configure } from "./configure.ts";

/** What the Worker prints in the present test. After each one its objects, its settings and the time are as before. */
export function eachPrinted(): readonly string[] {
  const printed: string[] = [];
  beforeEach(() => {
    printed.length = 0;
    vi.spyOn(console, "log").mockImplementation((line: string) => void printed.push(line));
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    await configure({});
    await reset();
  });
  return printed;
}
