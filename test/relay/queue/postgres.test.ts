import { afterAll, beforeAll, expect, test } from "vitest";
import { openQueue } from "../../../relay/queue/open.ts";
import { startPostgres, type PostgresServer } from "../../helpers/postgres.ts";
import { freePort } from "../../helpers/server-process.ts";
import { describeWith } from "../../helpers/peers.ts";
import { queueContract } from "./queue.contract.ts";
import { sharedContract } from "./shared.contract.ts";
import type { Place } from "./watch.ts";

describeWith("postgres", "the queue on postgres", () => {
  let server: PostgresServer;
  let places = 0;
  beforeAll(async () => {
    server = await startPostgres();
  }, 60_000);
  afterAll(() => server.stop());
  const newPlace = async (): Promise<Place> => {
    const url = await server.createDatabase(`place-${(places += 1)}`);
    return { url, dataDir: "/nonexistent" };
  };

  queueContract(newPlace);
  sharedContract(newPlace, () => server);

  test("a server that is not there is a clear error", async () => {
    const url = `postgres://u:secret@127.0.0.1:${await freePort()}/0`;
    const opening = openQueue({ url, dataDir: "/nonexistent", concurrency: 1, report: () => {} });
    await expect(opening).rejects.toMatchObject({ code: "ERR_QUEUE_UNREACHABLE", retryable: true });
    await expect(opening).rejects.not.toThrow(/secret/);
  });
});
