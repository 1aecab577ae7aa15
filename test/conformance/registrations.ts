/** Pattern-based and shared registrations. */
import { expect } from "vitest";
import { payloadOf, type Client, type RegisterOptions } from "./client.ts";
import { refusal, type Scenario } from "./scenario.ts";

/** Registers procedures that answer with a name and the procedure that was called. */
const named = (callee: Client, name: string, procedure: string, options: RegisterOptions) =>
  callee.register(procedure, (call) => payloadOf([name, call.procedure]), options);

async function answers(caller: Client, procedure: string, times: number): Promise<unknown[]> {
  const got: unknown[] = [];
  for (let call = 0; call < times; call++)
    // One after the other: whose turn it is, is what is asked.
    // oxlint-disable-next-line no-await-in-loop
    got.push((await caller.call(procedure).answer).args[0]);
  return got;
}

export const registrations: readonly Scenario[] = [
  {
    title:
      "of the registrations that match, exact goes before the longest prefix, and prefix before wildcard",
    async run({ join, uri }) {
      const [callee, caller] = [await join("alice"), await join("bob")];
      await named(callee, "wildcard", uri("a..c"), { match: "wildcard" });
      await named(callee, "short", uri("a."), { match: "prefix" });
      await named(callee, "long", uri("a.b."), { match: "prefix" });
      await named(callee, "exact", uri("a.b.c"), { match: "exact" });
      await named(callee, "other", uri("x..z"), { match: "wildcard" });
      for (const [procedure, expected] of [
        ["a.b.c", "exact"],
        ["a.b.d", "long"],
        ["a.b.c.d", "long"],
        ["a.x.y", "short"],
        ["a.x.c", "short"],
        ["x.y.z", "other"],
      ] as const)
        // oxlint-disable-next-line no-await-in-loop
        expect((await caller.call(uri(procedure)).answer).args).toEqual([expected, uri(procedure)]);
      expect(await refusal(caller.call(uri("x.y.y")).answer)).toBe("wamp.error.no_such_procedure");
    },
  },
  {
    title: "the same URI under each match is a registration of its own",
    async run({ join, uri }) {
      const [callee, other] = [await join("alice"), await join("bob")];
      const ids = [
        await named(callee, "exact", uri("a.b"), { match: "exact" }),
        await named(other, "prefix", uri("a.b"), { match: "prefix" }),
        await named(callee, "wildcard", uri("a.b"), { match: "wildcard" }),
      ].map(({ id }) => id);
      expect(new Set(ids).size).toBe(3);
      expect(await refusal(named(other, "again", uri("a.b"), { match: "wildcard" }))).toBe(
        "wamp.error.procedure_already_exists",
      );
    },
  },
  ...(
    [
      ["roundrobin", ["one", "two", "three", "one", "two", "three"]],
      ["first", ["one", "one", "one", "one", "one", "one"]],
      ["last", ["three", "three", "three", "three", "three", "three"]],
    ] as const
  ).map(([invoke, expected]): Scenario => ({
    title: `callees that share a procedure are called by its policy: ${invoke}`,
    async run({ join, uri }) {
      const callees = [await join("alice"), await join("bob"), await join("alice")];
      const names = ["one", "two", "three"];
      const ids = [];
      for (const [index, callee] of callees.entries())
        // oxlint-disable-next-line no-await-in-loop
        ids.push((await named(callee, names[index] ?? "", uri("shared"), { invoke })).id);
      expect(new Set(ids).size).toBe(1);
      expect(await answers(await join("carol"), uri("shared"), 6)).toEqual(expected);
    },
  })),
  {
    title: "callees that share a procedure are called by its policy: random",
    async run({ join, uri }) {
      const callees = [await join("alice"), await join("bob")];
      for (const [index, callee] of callees.entries())
        // oxlint-disable-next-line no-await-in-loop
        await named(callee, `${index}`, uri("shared"), { invoke: "random" });
      // All of one callee: once in 2^39.
      expect(new Set(await answers(await join("carol"), uri("shared"), 40))).toEqual(new Set(["0", "1"]));
    },
  },
  {
    title: "who shares must agree on the policy, and one who goes leaves the procedure to the others",
    async run({ join, uri }) {
      const [first, second, other, caller] = [
        await join("alice"),
        await join("bob"),
        await join("bob"),
        await join("carol"),
      ];
      const registration = await named(first, "first", uri("shared"), { invoke: "roundrobin" });
      await named(second, "second", uri("shared"), { invoke: "roundrobin" });
      expect(await refusal(named(other, "other", uri("shared"), { invoke: "last" }))).toBe(
        "wamp.error.procedure_exists_with_different_invocation_policy",
      );
      expect(await refusal(named(other, "other", uri("shared"), {}))).toBe(
        "wamp.error.procedure_exists_with_different_invocation_policy",
      );
      await first.unregister(registration);
      expect(await answers(caller, uri("shared"), 3)).toEqual(["second", "second", "second"]);
    },
  },
];
