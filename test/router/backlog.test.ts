import { describe, expect, it } from "vitest";
import { Backlog, Backlogs } from "../../router/backlog.ts";

const MIB = 1024 * 1024;

/** A reader that takes bytes only when it is told to. */
function makeReader(all: Backlogs) {
  const reader = { buffered: 0, dropped: false, asked: 0 };
  const backlog: Backlog = new Backlog(all, {
    buffered: () => {
      reader.asked += 1;
      return reader.buffered;
    },
    drop: () => {
      reader.dropped = true;
      reader.buffered = 0;
    },
  });
  return {
    reader,
    backlog,
    send: (frame: Uint8Array) => {
      if (reader.dropped || !backlog.hasRoom()) return false;
      reader.buffered += frame.byteLength;
      backlog.add(frame);
      return true;
    },
    take: (bytes: number) => void (reader.buffered -= bytes),
  };
}

const frameOf = (mib: number) => new Uint8Array(mib * MIB);

describe("the backlog of one reader", () => {
  it("may have 64 MiB, and then one frame more", () => {
    const { send, take } = makeReader(new Backlogs());
    const sent = [40, 24, 30, 1].map((mib) => send(frameOf(mib)));
    expect(sent).toEqual([true, true, false, false]);
    take(10 * MIB);
    expect(send(frameOf(30))).toBe(true);
    expect(send(frameOf(1))).toBe(false);
  });

  it("counts small frames for what they cost", () => {
    const { send, take, reader } = makeReader(new Backlogs());
    const small = new Uint8Array(20);
    let sent = 0;
    while (sent < 1_000_000 && send(small)) sent += 1;
    expect(sent).toBeGreaterThan(50_000);
    expect(sent).toBeLessThan(66_000);
    take(reader.buffered / 2);
    expect(send(small)).toBe(true);
  });

  it("forgets what the reader has taken", () => {
    const { send, take, backlog } = makeReader(new Backlogs());
    for (let frame = 0; frame < 1_000; frame += 1) {
      send(new Uint8Array(100));
      if (frame > 5) take(100);
    }
    expect(backlog.frames().length).toBe(6);
  });
});

describe("the backlogs of all readers", () => {
  it("may have 192 MiB together; then those with most waiting are dropped, and nobody else", () => {
    const all = new Backlogs();
    const readers = Array.from({ length: 10 }, () => makeReader(all));
    const small = makeReader(all);
    small.send(frameOf(1));
    for (let round = 0; round < 2; round += 1) for (const { send } of readers) send(frameOf(10));
    const waiting = readers.reduce((sum, { reader }) => sum + reader.buffered, small.reader.buffered);
    expect(waiting).toBeLessThanOrEqual(192 * MIB);
    expect(waiting).toBeGreaterThan(150 * MIB);
    expect(readers.filter(({ reader }) => reader.dropped).length).toBeLessThanOrEqual(2);
    expect(small.reader.dropped).toBe(false);
  });

  it("forget who has taken everything or is gone, also when that was seen while counting", () => {
    const all = new Backlogs();
    const gone = makeReader(all);
    gone.send(frameOf(1));
    gone.take(MIB);
    expect(gone.backlog.frames()).toEqual([]);
    gone.backlog.clear();
    gone.reader.asked = 0;
    const large = frameOf(40);
    for (let reader = 0; reader < 6; reader += 1) makeReader(all).send(large);
    expect(gone.reader.asked).toBe(0);
  });

  it("count a frame once, for however many it waits", () => {
    const all = new Backlogs();
    const readers = Array.from({ length: 100 }, () => makeReader(all));
    const large = frameOf(35);
    for (const { send } of readers) expect(send(large)).toBe(true);
    expect(readers.some(({ reader }) => reader.dropped)).toBe(false);
  });

  it("are counted once for all who are dropped", () => {
    const all = new Backlogs();
    const memory = new ArrayBuffer(MIB / 2);
    const readers = Array.from({ length: 512 }, () => makeReader(all));
    for (const { send } of readers) send(new Uint8Array(memory));
    expect(readers.filter(({ reader }) => reader.dropped).length).toBeGreaterThan(100);
    for (const { reader } of readers) expect(reader.asked).toBeLessThan(10);
  });

  it("are not counted anew for what others are told of each who is dropped", () => {
    const all = new Backlogs();
    let dropping = 0;
    let deepest = 0;
    const readers: Array<{ backlog: Backlog; buffered: number }> = [];
    const send = (to: (typeof readers)[number], frame: Uint8Array) => {
      to.buffered += frame.byteLength;
      to.backlog.add(frame);
    };
    for (let index = 0; index < 64; index += 1) {
      const drop = () => {
        deepest = Math.max(deepest, ++dropping);
        for (const other of readers) if (other !== reader) send(other, new Uint8Array(20));
        reader.buffered = 0;
        dropping -= 1;
      };
      const backlog = new Backlog(all, { buffered: () => reader.buffered, drop });
      const reader = { backlog, buffered: 0 };
      readers.push(reader);
    }
    const memory = new ArrayBuffer(4 * MIB);
    for (const reader of readers) send(reader, new Uint8Array(memory));
    expect(deepest).toBe(1);
  });
});
