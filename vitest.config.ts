import { cloudflareTest } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";
import { bindings } from "./test/worker/parties.ts";

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "node",
          include: ["test/**/*.test.ts"],
          exclude: ["test/worker/**"],
          // Real peers (tor, Postgres, Python) take their time on a small machine.
          testTimeout: 60_000,
          hookTimeout: 120_000,
          // Two real Tor networks at once would starve each other on two cores.
          fileParallelism: false,
        },
      },
      {
        // Keys for tests take the place of wrangler.toml's empty ones.
        plugins: [cloudflareTest({ wrangler: { configPath: "./wrangler.toml" }, miniflare: { bindings } })],
        test: { name: "workerd", include: ["test/worker/**/*.test.ts"] },
      },
    ],
  },
});
