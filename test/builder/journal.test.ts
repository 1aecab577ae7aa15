import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Journal, openJournal } from "../../builder/journal.ts";
import { fillDisk, MAY_MOUNT, mountSmallDisk } from "./small-disk.ts";
import { someEvent } from "./some-event.ts";

const entry = (tag: string, seq: number, rules: string[] = [], stream = "builder") => ({
  tag,
  event: someEvent(seq, `{"seq":${seq}}`, stream),
  rules,
});

describe("the journal", () => {
  let folder: string;
  let path: string;
  let journal: Journal;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "oh-journal-"));
    path = join(folder, "journal.sqlite");
    journal = openJournal(path);
  });
  afterEach(() => {
    journal.close();
    rmSync(folder, { recursive: true });
  });

  const keep = (...parts: Parameters<typeof entry>) => journal.keep([entry(...parts)])[0]?.was;
  const reopen = (options = {}) => {
    journal.close();
    journal = openJournal(path, options);
  };

  it("keeps an event once, by the tag of its seal", () => {
    expect(keep("tag-1", 1)).toBe("new");
    journal.eventTold("tag-1");
    expect(keep("tag-1", 1)).toBe("again");
    // Another seal with the same number: an edge that began anew. It is no duplicate.
    expect(keep("tag-2", 1)).toBe("new");
  });

  it("knows what it kept and could not tell, also after it was closed", () => {
    keep("tag-1", 1, ["docs"]);
    journal.ended(journal.nextBuild()?.id ?? 0, "0", 12.4);
    reopen();
    expect(keep("tag-1", 1)).toBe("untold");
    journal.eventTold("tag-1");
    expect(keep("tag-1", 1)).toBe("again");
    const [build] = journal.untoldBuilds();
    expect(build).toMatchObject({
      rule: "docs",
      delivery: "delivery-1",
      stream: "builder",
      seq: 1,
      exit: "0",
      ms: 12,
    });
    journal.buildTold(build?.id ?? 0);
    expect(journal.untoldBuilds()).toEqual([]);
  });

  it("hands out builds in order, each until it is over, also after it was closed", () => {
    keep("tag-1", 1, ["docs", "deploy"]);
    keep("tag-2", 2, ["docs"]);
    const first = journal.nextBuild();
    expect(first).toMatchObject({ rule: "docs", delivery: "delivery-1", seq: 1, process: undefined });
    journal.began(first?.id ?? 0, { pid: 4242, started: "99" });
    reopen();
    expect(journal.nextBuild()).toMatchObject({ id: first?.id, process: { pid: 4242, started: "99" } });
    journal.ended(first?.id ?? 0, "0", 12.5);
    expect(journal.nextBuild()).toMatchObject({ rule: "deploy", delivery: "delivery-1" });
    journal.ended(journal.nextBuild()?.id ?? 0, "1", 1);
    expect(journal.nextBuild()).toMatchObject({ rule: "docs", delivery: "delivery-2" });
    expect(Buffer.from(journal.nextBuild()?.rawBody ?? []).toString()).toBe('{"seq":2}');
  });

  it("keeps no build of a duplicate", () => {
    keep("tag-1", 1, ["docs"]);
    journal.ended(journal.nextBuild()?.id ?? 0, "0", 1);
    keep("tag-1", 1, ["docs"]);
    expect(journal.nextBuild()).toBeUndefined();
  });

  it("keeps what came together at once, and a duplicate among it once", () => {
    const kept = journal.keep([entry("tag-1", 1, ["docs"]), entry("tag-2", 2), entry("tag-1", 1, ["docs"])]);
    expect(kept.map(({ was }) => was)).toEqual(["new", "new", "again"]);
    journal.ended(journal.nextBuild()?.id ?? 0, "0", 1);
    expect(journal.nextBuild()).toBeUndefined();
  });

  it("hands out the builds of a stream by number, however they came, and streams by what came first", () => {
    keep("tag-3", 3, ["docs"]);
    keep("other-1", 1, ["docs"], "other");
    keep("tag-2", 2, ["docs"]);
    const order = [];
    for (let build = journal.nextBuild(); build; build = journal.nextBuild()) {
      order.push(`${build.stream} ${build.seq}`);
      journal.ended(build.id, "0", 1);
    }
    expect(order).toEqual(["other 1", "builder 2", "builder 3"]);
  });

  it("passes over a stream whose next build is held, and nothing else", () => {
    keep("tag-2", 2, ["docs"]);
    keep("other-1", 1, ["docs"], "other");
    expect(journal.nextBuild((stream) => stream === "builder")).toMatchObject({ stream: "other" });
    expect(journal.nextBuild(() => true)).toBeUndefined();
  });

  it("hands out a build that had begun before any other, even one that is held", () => {
    keep("tag-2", 2, ["docs"]);
    const begun = journal.nextBuild()?.id ?? 0;
    journal.began(begun, { pid: 4242, started: "99" });
    keep("tag-1", 1, ["docs"]);
    reopen();
    expect(journal.nextBuild(() => true)).toMatchObject({ id: begun });
  });

  it("knows what is missing, and what was given up, also after it was closed", () => {
    keep("tag-1", 1);
    keep("tag-9", 9);
    journal.giveUp("builder", { from: 2, to: 4 });
    keep("tag-7", 7);
    const known = {
      first: 1,
      newest: 9,
      missing: [
        { from: 2, to: 4, givenUp: true },
        { from: 5, to: 6, givenUp: false },
        { from: 8, to: 8, givenUp: false },
      ],
    };
    expect(journal.numbering("builder")).toMatchObject(known);
    reopen();
    expect(journal.streams()).toEqual(["builder"]);
    expect(journal.numbering("builder")).toMatchObject(known);
    for (const seq of [2, 3, 4, 5, 6, 8]) keep(`tag-${seq}`, seq);
    reopen();
    expect(journal.numbering("builder")).toMatchObject({ newest: 9, missing: [] });
  });

  it("says when the edge's store began anew, and hands out the builds of the old one first", () => {
    keep("tag-1", 1);
    keep("tag-5", 5, ["docs"]);
    expect(journal.keep([entry("new-1", 1, ["docs"])])).toEqual([{ was: "new", restarted: true }]);
    expect(journal.keep([entry("new-2", 2)])).toEqual([{ was: "new", restarted: false }]);
    expect(journal.nextBuild(() => true)).toMatchObject({ seq: 5 });
  });

  it("knows no numbers where builders share, nor what it knew of them before", () => {
    keep("tag-1", 1);
    keep("tag-9", 9);
    reopen({ numbered: false });
    keep("tag-12", 12, ["docs"]);
    expect(journal.streams()).toEqual([]);
    expect(journal.nextBuild()).toMatchObject({ seq: 12 });
    reopen();
    keep("tag-20", 20);
    expect(journal.numbering("builder")).toMatchObject({ first: 20, missing: [] });
  });

  it("forgets old events whose builds are over and told, and says which builds these are", () => {
    reopen({ now: () => 1000 });
    keep("plain", 1);
    keep("over", 2, ["docs"]);
    keep("untold", 3, ["docs"]);
    keep("waiting", 4, ["docs"]);
    const over = journal.nextBuild()?.id ?? 0;
    journal.ended(over, "0", 1);
    journal.buildTold(over);
    journal.ended(journal.nextBuild()?.id ?? 0, "0", 1);
    expect(journal.forget(1000)).toEqual([]);
    expect(journal.forget(1001)).toEqual([over]);
    expect(journal.untoldBuilds()).toMatchObject([{ seq: 3 }]);
    expect(journal.nextBuild()).toMatchObject({ seq: 4 });
  });

  it("takes over a journal of the first version", () => {
    journal.close();
    rmSync(path);
    const old = new DatabaseSync(path);
    old.exec(readFileSync(new URL("journal-v1.sql", import.meta.url), "utf8"));
    old.close();
    journal = openJournal(path);
    expect(journal.nextBuild()).toMatchObject({ stream: "builder", seq: 7, rule: "docs" });
    journal.ended(1, "0", 1);
    expect(journal.nextBuild()).toMatchObject({ stream: "builder", seq: 8 });
  });

  it.runIf(MAY_MOUNT)("goes on when a full disk has room again", () => {
    const disk = mountSmallDisk("512k");
    const small = openJournal(join(disk, "journal.sqlite"));
    const large = (seq: number) => ({
      ...entry(`tag-${seq}`, seq, ["docs"]),
      event: someEvent(seq, " ".repeat(20_000)),
    });
    const ballast = fillDisk(disk, 100_000);
    let seq = 1;
    const fill = () => {
      for (; seq < 100; seq += 1) small.keep([large(seq)]);
    };
    expect(fill).toThrow("full");
    expect(() => small.keep([large(seq), large(seq + 1)])).toThrow("full");
    expect(small.numbering("builder")).toMatchObject({ newest: seq - 1 });
    rmSync(ballast);
    expect(small.keep([large(seq)])).toEqual([{ was: "new", restarted: false }]);
    small.close();
  });

  it("is for its owner only", () => {
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });
});
