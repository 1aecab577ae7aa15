import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { checkIds } from "../../../shared/wamp/ids.ts";

const ID = 7;
/** One message of each type that a router sends, and where its ids are. */
const messages: readonly (readonly [name: string, message: unknown[], ids: number[]])[] = [
  ["WELCOME", [2, ID, { roles: {} }], [1]],
  ["ERROR", [8, 48, ID, {}, "some.error"], [1, 2]],
  ["PUBLISHED", [17, ID, ID], [1, 2]],
  ["SUBSCRIBED", [33, ID, ID], [1, 2]],
  ["UNSUBSCRIBED", [35, ID], [1]],
  ["EVENT", [36, ID, ID, {}], [1, 2]],
  ["RESULT", [50, ID, {}], [1]],
  ["REGISTERED", [65, ID, ID], [1, 2]],
  ["UNREGISTERED", [67, ID], [1]],
  ["INVOCATION", [68, ID, ID, {}], [1, 2]],
  ["INTERRUPT", [69, ID, {}], [1]],
];
const noIds = ["constructor", "__proto__", "7", [7], {}, null, undefined, true, 0, -1, 1.5, 2 ** 53 + 2, 0n];

describe("the ids of what a router says", () => {
  it.each(messages)("are whole numbers from 1 to 2^53: %s", (_name, message, ids) => {
    for (const place of [0, ...ids])
      for (const value of noIds)
        expect(() => checkIds(message.with(place, value)), `${place}: ${inspect(value)}`).toThrow(
          expect.objectContaining({ code: "ERR_WAMP_MESSAGE" }),
        );
    for (const place of ids)
      for (const value of [1, 2 ** 53, 1n, 2n ** 53n]) {
        const valid = message.with(place, value);
        expect(checkIds(valid)).toBe(valid);
      }
  });

  it("must be there", () => {
    for (const [, message] of messages) expect(() => checkIds(message.slice(0, 1))).toThrow("an id");
    expect(() => checkIds([])).toThrow("an id");
  });

  it("are not looked for in what has none", () => {
    for (const message of [
      [3, {}, "wamp.error.no_such_realm"],
      [4, "cryptosign", {}],
      [6, {}, "wamp.close.normal"],
    ])
      expect(checkIds(message)).toBe(message);
  });
});
