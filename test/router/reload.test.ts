import { describe, expect, it } from "vitest";
import { parseRouterConfig } from "../../router/config.ts";
import { answer, challengeOf, newKeyPair, RawClient } from "./raw-client.ts";
import { configJson, PRINCIPALS, startTestbed, type Change, type Testbed } from "./testbed.ts";

const revoked = [{}, "wamp.error.not_authorized"];

/** The testbed's configuration, with changes. */
function reload({ router, keys }: Testbed, ...changes: readonly Change[]): void {
  const json = configJson(
    [`${PRINCIPALS}.relay.authorized_keys`, [keys.relay.publicHex]],
    [`${PRINCIPALS}.builder.authorized_keys`, [keys.builder.publicHex]],
    ...changes,
  );
  router.reload(parseRouterConfig(json, "/nowhere"));
}

describe("reloading the principals", () => {
  it.each<[string, Change]>([
    ["a name", [`${PRINCIPALS}.builder`, undefined]],
    ["a key", [`${PRINCIPALS}.builder.authorized_keys`, [newKeyPair().publicHex]]],
    ["a role", [`${PRINCIPALS}.builder.role`, "github"]],
  ])("ends at once the sessions of whom it takes %s, and no other", async (_name, change) => {
    const testbed = await startTestbed();
    const [relay, builder] = [await testbed.join("relay"), await testbed.join("builder")];
    reload(testbed, change);
    expect(await builder.next()).toEqual([6, ...revoked]);
    expect(await builder.closed).toBe(1000);
    expect(testbed.reports.at(-1)).toEqual(["left", { authid: "builder", reason: "revoked" }]);
    expect(await relay.settled()).toEqual([]);
  });

  it("lets nobody prove a key that was taken away since the challenge", async () => {
    const testbed = await startTestbed();
    const client = await testbed.dial();
    client.hello("builder", testbed.keys.builder.publicHex);
    const [, , extra] = await client.next();
    reload(testbed, [`${PRINCIPALS}.builder.authorized_keys`, []]);
    client.send([5, answer(testbed.keys.builder, challengeOf(extra)), {}]);
    expect(await client.next()).toEqual([3, ...revoked]);
    expect(await client.closed).toBe(1000);
  });

  it("lets in whom it adds, and disturbs nobody when nothing changes", async () => {
    const testbed = await startTestbed();
    const builder = await testbed.join("builder");
    const second = newKeyPair();
    reload(testbed, [
      `${PRINCIPALS}.builder.authorized_keys`,
      [testbed.keys.builder.publicHex, second.publicHex],
    ]);
    const other = await RawClient.join(testbed.endpoint, "builder", second);
    expect(await builder.settled()).toEqual([]);
    reload(testbed);
    expect(await other.next()).toEqual([6, ...revoked]);
    expect(await builder.settled()).toEqual([]);
    other.end();
  });
});
