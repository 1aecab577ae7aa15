import { describe, expect, it } from "vitest";
import { makeJourneys } from "../../relay/journeys.ts";

function makeClocked(most?: number) {
  let time = 0;
  const journeys = makeJourneys(() => (time += 1), most);
  const all = (seq: number, delivery = `d-${seq}`) => {
    const name = { delivery, stream: "builder", seq };
    journeys.note("drained", { ...name, topic: "webhook.github.push", bytes: 612 });
    for (const step of ["published", "received"]) journeys.note(step, name);
    // The edge names no delivery.
    return journeys.note("accepted", { stream: "builder", seq });
  };
  return { ...journeys, all };
}

describe("a journey", () => {
  it("has the time of each step", () => {
    const { all, find } = makeClocked();
    expect(all(7)).toEqual({
      step: "accepted",
      journey: {
        delivery: "d-7",
        stream: "builder",
        seq: 7,
        topic: "webhook.github.push",
        bytes: 612,
        at: { drained: 1, published: 2, received: 3, accepted: 4 },
        published: 1,
      },
    });
    expect(find("builder-7")).toEqual(find("d-7"));
    expect(find("builder-8")).toEqual([]);
  });

  it("goes on when the edge sends an event again that is not done", () => {
    const { note, find } = makeClocked();
    const name = { delivery: "d-1", stream: "builder", seq: 1 };
    for (const event of ["drained", "published", "drained", "published"]) note(event, name);
    expect(find("d-1")).toMatchObject([{ at: { drained: 1, published: 4 }, published: 2 }]);
  });

  it("is another when it was done, and when another event has its number", () => {
    const { note, all, find } = makeClocked();
    all(1);
    note("drained", { delivery: "d-1", stream: "builder", seq: 1 });
    expect(find("d-1")).toEqual([
      { delivery: "d-1", stream: "builder", seq: 1, at: { drained: 5 }, published: 0 },
    ]);
    note("drained", { delivery: "other", stream: "builder", seq: 1 });
    expect(find("builder-1")).toMatchObject([{ delivery: "other" }]);
  });

  it("begins anywhere: what the relay held when it began was drained before", () => {
    const { note } = makeClocked();
    expect(note("published", { delivery: "d-1", stream: "builder", seq: 1 })).toMatchObject({
      journey: { at: { published: 1 } },
    });
    expect(note("accepted", { stream: "builder", seq: 2 })).toBeUndefined();
    expect(note("connected", { to: "edge" })).toBeUndefined();
  });
});

it("only so many journeys are kept, the oldest are forgotten, and done ones listed latest first", () => {
  const { all, done, find } = makeClocked(3);
  for (const seq of [1, 2, 3, 4, 5]) all(seq);
  expect(done(10).map(({ seq }) => seq)).toEqual([5, 4, 3]);
  expect(done(1).map(({ seq }) => seq)).toEqual([5]);
  expect(find("builder-1")).toEqual([]);
});
