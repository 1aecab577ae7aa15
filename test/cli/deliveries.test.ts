import { expect, it } from "vitest";
import { makeDeliveries } from "../../cli/dev/deliveries.ts";

const GUID = "2b0946b5-bf27-4b6c-8bf9-1453ea13c977";
const START = Date.UTC(2026, 10, 21);

/** What is said of a delivery whose events come so many milliseconds after another. */
function saidOf(...events: [ms: number, event: string, fields?: object][]): string[] {
  const said: string[] = [];
  const { note } = makeDeliveries((line) => said.push(line));
  for (const [ms, event, fields] of events) {
    const about = event === "received" ? { topic: "webhook.github.push" } : { stream: "builder", seq: 7 };
    note({ event, at: START + ms, delivery: GUID, ...about, ...fields });
  }
  return said;
}

const opened = (rules: number) => ({ topic: "webhook.github.push", rules });
const built = (rule: string, exit: number | string = 0) => ({ rule, exit });

it.each<[string, Parameters<typeof saidOf>, string[]]>([
  [
    "when it is built",
    [
      [0, "received"],
      [10, "stored", { duplicate: false }],
      [120, "drained"],
      [180, "published"],
      [240, "opened", opened(1)],
      [300, "done"],
      [412, "built", built("sample-docs")],
    ],
    ["built     push builder-7 2b0946b5…   received → built 412 ms   sample-docs exit 0"],
  ],
  [
    "when its last build is over, with each of them",
    [
      [0, "received"],
      [240, "opened", opened(2)],
      [412, "built", built("docs", 2)],
      [61_240, "built", built("site", "timeout")],
    ],
    ["built     push builder-7 2b0946b5…   received → built 61.2 s   docs exit 2, site exit timeout"],
  ],
  [
    "when the builder has it, and builds nothing of it",
    [
      [0, "received"],
      [240, "opened", opened(0)],
    ],
    ["opened    push builder-7 2b0946b5…   received → opened 240 ms   no rule is for it"],
  ],
  [
    "when it is sent once more",
    [
      [0, "drained"],
      [200, "opened", opened(1)],
      [300, "built", built("docs")],
    ],
    ["built     push builder-7 2b0946b5…   drained → built 300 ms   docs exit 0"],
  ],
  ["when it began before", [[0, "built", built("docs")]], ["built     builder-7 2b0946b5…   docs exit 0"]],
])("a delivery has its line %s", (_when, events, said) => {
  expect(saidOf(...events)).toEqual(said);
});

it("the same body again is told as what it is", () => {
  const said = saidOf([0, "received"], [8, "stored", { duplicate: true }]);
  expect(said).toEqual([
    "stored    push 2b0946b5…   received → stored 8 ms   duplicate: this body is stored already",
  ]);
});

it("the thousand that began last have their whole line, whatever never ended before", () => {
  const said: string[] = [];
  const { note } = makeDeliveries((line) => said.push(line));
  const guid = (index: number) => `${index}`.padStart(8, "0") + GUID.slice(8);
  const all = Array.from({ length: 1001 }, (_, index) => guid(index));
  for (const delivery of all)
    note({ event: "received", at: START, delivery, topic: "webhook.github.push", stream: "builder", seq: 7 });
  for (const delivery of [all[0], all[1], all.at(-1)])
    note({ event: "built", at: START + 412, delivery, ...built("docs") });
  const line = "built     push builder-7";
  expect(said).toEqual([
    "built      00000000…   docs exit 0",
    `${line} 00000001…   received → built 412 ms   docs exit 0`,
    `${line} 00001000…   received → built 412 ms   docs exit 0`,
  ]);
});

it("what is no delivery's has no line", () => {
  expect(saidOf([0, "listening", { delivery: undefined }])).toEqual([]);
});
