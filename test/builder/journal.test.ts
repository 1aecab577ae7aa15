import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Journal, openJournal } from "../../builder/journal.ts";
import { someEvent } from "./some-event.ts";

const event = (seq: number) => someEvent(seq, `{"seq":${seq}}`);

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

  it("keeps an event once, by the tag of its seal", () => {
    expect(journal.keep("tag-1", event(1), [])).toBe("new");
    journal.eventTold("tag-1");
    expect(journal.keep("tag-1", event(1), [])).toBe("again");
    // Another seal with the same number: an edge that began anew. It is no duplicate.
    expect(journal.keep("tag-2", event(1), [])).toBe("new");
  });

  it("knows what it kept and could not tell, also after it was closed", () => {
    journal.keep("tag-1", event(1), ["docs"]);
    journal.ended(journal.nextBuild()?.id ?? 0, "0", 12.4);
    journal.close();
    journal = openJournal(path);
    expect(journal.keep("tag-1", event(1), [])).toBe("untold");
    journal.eventTold("tag-1");
    expect(journal.keep("tag-1", event(1), [])).toBe("again");
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
    journal.keep("tag-1", event(1), ["docs", "deploy"]);
    journal.keep("tag-2", event(2), ["docs"]);
    const first = journal.nextBuild();
    expect(first).toMatchObject({ rule: "docs", delivery: "delivery-1", seq: 1, process: undefined });
    journal.began(first?.id ?? 0, { pid: 4242, started: "99" });
    journal.close();
    journal = openJournal(path);
    expect(journal.nextBuild()).toMatchObject({ id: first?.id, process: { pid: 4242, started: "99" } });
    journal.ended(first?.id ?? 0, "0", 12.5);
    expect(journal.nextBuild()).toMatchObject({ rule: "deploy", delivery: "delivery-1" });
    journal.ended(journal.nextBuild()?.id ?? 0, "1", 1);
    expect(journal.nextBuild()).toMatchObject({ rule: "docs", delivery: "delivery-2" });
    expect(Buffer.from(journal.nextBuild()?.rawBody ?? []).toString()).toBe('{"seq":2}');
  });

  it("keeps no build of a duplicate", () => {
    journal.keep("tag-1", event(1), ["docs"]);
    journal.ended(journal.nextBuild()?.id ?? 0, "0", 1);
    journal.keep("tag-1", event(1), ["docs"]);
    expect(journal.nextBuild()).toBeUndefined();
  });

  it("is for its owner only", () => {
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });
});
