/**
 * Every scenario with both client libraries on every serializer, against our router and, with the same expectations,
 * against the real Crossbar.io.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findPeer, type Peer, describeWith } from "../helpers/peers.ts";
import { record } from "../router/raw-client.ts";
import { scenariosFor } from "./announced.ts";
import { autobahnJs } from "./autobahn-js.ts";
import { startAutobahnPython } from "./autobahn-python.ts";
import type { Library } from "./client.ts";
import { meta } from "./meta.ts";
import { pubsub } from "./pubsub.ts";
import { registrations } from "./registrations.ts";
import { rpc } from "./rpc.ts";
import { REALM, startCrossbar, startOurs, type TestRouter } from "./routers.ts";
import { exception, makeWorld, type Scenario } from "./scenario.ts";
import { sessions } from "./sessions.ts";
import { makeWireWorld } from "./wire-world.ts";
import { wireCalls } from "./wire-calls.ts";
import { wire } from "./wire.ts";

const SCENARIOS: readonly Scenario[] = [...sessions, ...pubsub, ...rpc, ...registrations, ...meta];

const ROUTERS: ReadonlyArray<readonly [TestRouter["name"], () => Promise<TestRouter>, Peer | undefined]> = [
  ["our router", startOurs, undefined],
  ["Crossbar.io", startCrossbar, "crossbar"],
];
const LIBRARIES: ReadonlyArray<readonly [Library["name"], () => Library, Peer | undefined]> = [
  ["Autobahn|Python", () => startAutobahnPython(findPeer("autobahn") ?? ""), "autobahn"],
  ["autobahn-js", () => autobahnJs, undefined],
];

const SERIALIZERS = ["json", "msgpack", "cbor"] as const;

const describeIf = (peer: Peer | undefined, title: string, tests: () => void) =>
  peer === undefined ? describe(title, tests) : describeWith(peer, title, tests);

for (const [routerName, startRouter, routerPeer] of ROUTERS)
  describeIf(routerPeer, `at ${routerName}`, () => {
    let router: TestRouter;
    beforeAll(async () => {
      router = await startRouter();
    });
    afterAll(() => router.stop());

    describe.each(SERIALIZERS)("messages on the wire, %s", (serializer) => {
      for (const scenario of [...wire, ...wireCalls]) {
        const reason = scenario.except?.[routerName];
        if (reason !== undefined) it.skip(`${scenario.title}: not here, ${reason}`);
        else
          it(scenario.title, async () => {
            const { world, end } = makeWireWorld(router, serializer);
            try {
              await scenario.run(world);
            } finally {
              end();
            }
          });
      }
    });

    for (const [libraryName, startLibrary, libraryPeer] of LIBRARIES)
      describeIf(libraryPeer, libraryName, () => {
        let library: Library;
        beforeAll(() => {
          library = startLibrary();
        });
        afterAll(() => library.stop());

        describe.each(SERIALIZERS)("%s", (serializer) => {
          for (const scenario of SCENARIOS) {
            const reason = exception(scenario, routerName, libraryName);
            if (reason !== undefined) it.skip(`${scenario.title}: not here, ${reason}`);
            else
              it(scenario.title, async () => {
                const { world, end } = makeWorld(router, library, serializer);
                try {
                  await scenario.run(world);
                } finally {
                  await end();
                }
              });
          }
        });
      });
  });

/** What is announced is what is tested above, and nothing that Crossbar.io does not know under that name. */
describe("what our router announces in WELCOME", () => {
  it("has a scenario for each feature, and features of no other name", async () => {
    const router = await startOurs();
    try {
      const { world, end } = makeWireWorld(router, "json");
      const { welcome } = await world.join();
      end();
      const roles = record(welcome["roles"]);
      expect(Object.keys(roles).toSorted()).toEqual(["broker", "dealer"]);
      for (const role of Object.values(roles))
        for (const [feature, on] of Object.entries(record(record(role)["features"]))) {
          expect(on, feature).toBe(true);
          expect(scenariosFor(feature) ?? [], feature).not.toEqual([]);
        }
      expect(welcome).toEqual({
        realm: REALM,
        authid: "alice",
        authrole: "peer",
        authmethod: "cryptosign",
        authprovider: "static",
        roles,
      });
    } finally {
      await router.stop();
    }
  });
});
