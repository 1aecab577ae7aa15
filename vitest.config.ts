import { cloudflareTest } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";
import { bindings } from "./test/worker/parties.ts";

/** Milliseconds. Real peers (tor, Postgres, Python, workerd) take their time on a small machine. */
const PATIENCE = { testTimeout: 60_000, hookTimeout: 120_000 };

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "node",
          include: ["test/**/*.test.ts"],
          exclude: ["test/worker/**"],
          ...PATIENCE,
          // Two real Tor networks at once would starve each other on two cores.
          fileParallelism: false,
        },
      },
      {
        // Keys for tests take the place of wrangler.toml's empty ones.
        plugins: [cloudflareTest({ wrangler: { configPath: "./wrangler.toml" }, miniflare: { bindings } })],
        test: { name: "workerd", include: ["test/worker/**/*.test.ts"], ...PATIENCE },
      },
    ],
  },
});
