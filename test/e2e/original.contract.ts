/**
 * What a builder written as the txtorcon documentation builder is (test/peers/original-builder.py) can rely on, with
 * receipts off: it gets the pushes that its one key opens, drops the rest, and comes back by itself.
 */
import { afterAll, beforeAll, expect, it } from "vitest";
import { type PythonPeer, startPythonPeer } from "../helpers/autobahn.ts";
import { eventually } from "../helpers/until.ts";
import { type Part, said } from "../helpers/part.ts";
import type { Rig, RigOptions } from "../helpers/rig.ts";

const RELAY = "relay";
const BUILDER = "builder";

/** What the contract needs of a pipeline. */
export const PARTIES = {
  relays: [RELAY],
  builders: [BUILDER],
  recipients: { builder: { receipts: false } },
} as const satisfies RigOptions;

/** Milliseconds. Through Tor, a client that tried while a service was away may need 95 s. */
const COMES_MS = 240_000;

/** @param pipeline resolves with the rig and where the builder finds its router, as the program wants it. */
export function describeOriginal(pipeline: () => Promise<{ rig: Rig; where: string }>): void {
  let rig: Rig;
  let where: string;
  let relay: Part;
  let builder: PythonPeer;
  /** What it said, over all its lives. */
  const heard: { said: string; delivery?: string; topic?: string }[] = [];

  const startBuilder = () =>
    startPythonPeer("original-builder.py", rig.configOf(BUILDER), [where], (line) => {
      // Twisted's log puts the time before what a program prints.
      const at = line.indexOf('{"said"');
      if (at >= 0) heard.push(JSON.parse(line.slice(at)) as (typeof heard)[number]);
    });
  const times = (what: string, delivery?: string) =>
    heard.filter((each) => each.said === what && each.delivery === delivery).length;
  const eventuallyHere = (what: string, condition: () => boolean) =>
    eventually(what, condition, COMES_MS).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${builder.log()}`);
    });

  beforeAll(async () => {
    ({ rig, where } = await pipeline());
    rig.configureBuilder(BUILDER);
    relay = rig.startRelay(RELAY, { canary_seconds: 0 });
    builder = startBuilder();
    await eventuallyHere("it subscribes", () => times("ready") === 1);
  }, COMES_MS);

  afterAll(() => builder?.stop());

  it(
    "has each push opened, by its exact and by its prefix subscription",
    async () => {
      const delivery = await rig.push({ ref: "refs/heads/main" });
      await eventuallyHere(
        "both handlers have it",
        () => times("push", delivery) === 1 && times("event", delivery) === 1,
      );
      expect(heard).toContainEqual({ said: "push", delivery, ref: "refs/heads/main" });
      expect(heard).toContainEqual({ said: "event", delivery, topic: "webhook.github.push" });
    },
    COMES_MS,
  );

  it(
    "drops events that it has no key for, says so, and goes on",
    async () => {
      const issues = await rig.push({}, "issues");
      const push = await rig.push({});
      await eventuallyHere("the next push is opened", () => times("push", push) === 1);
      expect(times("event", issues)).toBe(0);
      expect(builder.log()).toContain("received encrypted payload, but can't find key!");
      expect(builder.process.exitCode).toBe(null);
      await eventually("the edge is told", () => said(relay, "accepted") >= 3, COMES_MS);
    },
    COMES_MS,
  );

  it(
    "comes back by itself when the router was killed, and has what came meanwhile",
    async () => {
      const before = times("ready");
      await rig.router.kill();
      const meanwhile = await rig.push({});
      await rig.router.restart();
      await eventuallyHere("it subscribes again", () => times("ready") === before + 1);
      await eventuallyHere("it has what came", () => times("push", meanwhile) === 1);
      const after = await rig.push({});
      await eventuallyHere("it has what comes", () => times("push", after) === 1);
    },
    COMES_MS,
  );

  it(
    "has what came while it was away itself",
    async () => {
      const subscribers = () => relay.events.findLast(({ event }) => event === "audience")?.["builders"];
      await builder.stop();
      await eventually("the relay misses it", () => subscribers() === 0, COMES_MS);
      const later = said(relay, "later");
      const meanwhile = [await rig.push({}), await rig.push({})];
      await eventually("they wait", () => said(relay, "later") >= later + 2, COMES_MS);
      builder = startBuilder();
      await eventuallyHere("it has them", () => meanwhile.every((delivery) => times("push", delivery) === 1));
    },
    COMES_MS,
  );
}
