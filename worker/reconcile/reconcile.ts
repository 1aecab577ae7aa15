/**
 * Reconciliation: finds the deliveries of one hook that never succeeded, and has GitHub try them again.
 *
 * The API lists attempts newest first. A run lists back to an hour before the time up to which all is known (the
 * watermark), at most 3 days, and remembers every GUID that needs it. The watermark moves only when a listing is
 * complete; one that is cut goes on at its cursor in the next run. Asked for is only after a complete listing: before it,
 * an older attempt that succeeded may not have been seen.
 *
 * A GUID whose attempts seen are all redeliveries is unrooted: unless the listing reached back 3 days, its first attempt
 * lies before the watermark and would be remembered had it failed. So it succeeded, and is left alone; that saves
 * remembering every delivery that was fine.
 */
import { describeError, OnionhookError } from "../../shared/errors.ts";
import type { Report } from "../../shared/report.ts";
import { type Attempt, type HookApi, RateLimited } from "./github-api.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** How long GitHub keeps deliveries and redelivers them. */
const WINDOW_MS = 72 * HOUR_MS;
/** How far a listing goes behind the watermark: for attempts that were under way, or listed late. */
const OVERLAP_MS = HOUR_MS;
/** GitHub waits 10 s for an answer (Enterprise Server 30 s): one pending for longer has been lost. */
const MAX_PENDING_MS = HOUR_MS;
/** Least time between an attempt, or our asking for it, and our asking for the next. As many as there are entries. */
export const DISTANCES_MS = [10 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS] as const;

/**
 * Of each: a run makes at most 45 requests. Cloudflare's free plan allows 50 an invocation:
 * https://developers.cloudflare.com/workers/platform/limits/#subrequests
 */
export const MAX_PAGES_PER_RUN = 30;
export const MAX_ASKS_PER_RUN = 15;
/** Between two POSTs: https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api */
const ASK_PAUSE_MS = 1000;
/** No further request is begun after this, so that one slow hook leaves the others their time. */
const RUN_MS = MINUTE_MS;

/** GitHub's least wait when it names none; doubled each time that a run ends by a limit. */
const LIMIT_WAIT_MS = MINUTE_MS;
/** Primary limits end within the hour; a header that says far more is not believed. */
const MAX_LIMIT_WAIT_MS = 6 * HOUR_MS;

/** What is remembered of a GUID; one whose first attempt succeeded is not. Times are milliseconds since 1970. */
export interface Tracked {
  guid: string;
  /** Whether its first attempt has been seen, or cannot have succeeded within the window. */
  rooted: boolean;
  succeeded: boolean;
  /** Whether the newest attempt is. */
  pending: boolean;
  oldestAt: number;
  newestAt: number;
  /** The newest attempt's id. */
  newestId: string;
  /** How often we asked for a redelivery, and when last; 0 for never. */
  asked: number;
  askedAt: number;
}

export interface Progress {
  /** Every attempt before this is known; 0 at first. */
  watermark: number;
  /** A listing that was cut: when it began, how far back it goes, and where it is. */
  listing: { startedAt: number; floor: number; cursor: string } | undefined;
  /** Nothing is asked of GitHub before this. */
  notBefore: number;
  /** How many runs in a row ended by a rate limit. */
  limits: number;
}

/** What must survive between runs. Everything is immediate. */
export interface ReconcileStore {
  progress(): Progress;
  find(guid: string): Tracked | undefined;
  /** Those that did not succeed. */
  unsucceeded(): Tracked[];
  /** Writes all of it in one step. */
  commit(change: { progress?: Progress; tracked?: Iterable<Tracked> }): void;
  /** Forgets what is older than `time`; with `rooting`, takes all others as rooted. */
  settle(time: number, rooting: boolean): void;
}

export interface ReconcileParts {
  hook: string;
  api: HookApi;
  store: ReconcileStore;
  report: Report;
  /** Milliseconds since 1970. */
  now: () => number;
  wait: (ms: number) => Promise<void>;
}

/**
 * One run. Reports `reconciled` with what it did, and `error` for what stopped it; never throws what GitHub did.
 * @returns until when GitHub's rate limit forbids further requests, or 0.
 */
export async function reconcile(parts: ReconcileParts): Promise<number> {
  const { hook, store, report, now } = parts;
  const startedAt = now();
  const before = store.progress();
  if (startedAt < before.notBefore) return before.notBefore;
  const tally = { hook, pages: 0, deliveries: 0, failed: 0, asked: 0, complete: false };
  let notBefore = 0;
  try {
    tally.complete = await list(parts, startedAt, tally);
    if (tally.complete) await ask(parts, startedAt, tally);
    if (before.limits > 0) store.commit({ progress: { ...store.progress(), limits: 0 } });
  } catch (error) {
    const progress = store.progress();
    if (error instanceof RateLimited) {
      const wait = LIMIT_WAIT_MS * 2 ** progress.limits;
      notBefore = Math.max(error.until ?? now() + wait, now() + LIMIT_WAIT_MS);
      notBefore = Math.min(notBefore, now() + MAX_LIMIT_WAIT_MS);
      store.commit({ progress: { ...progress, notBefore, limits: progress.limits + 1 } });
    } else if (error instanceof OnionhookError && !error.retryable && progress.listing) {
      // Perhaps it is the cursor that GitHub no longer takes: the next run begins anew.
      store.commit({ progress: { ...progress, listing: undefined } });
    }
    report("error", { ...describeError(error), hook });
  }
  tally.failed = store.unsucceeded().filter((tracked) => hasFailed(tracked, now())).length;
  report("reconciled", tally);
  return notBefore;
}

type Tally = { pages: number; deliveries: number; asked: number };

/** Reads pages and remembers what is on them. True when the listing is complete. */
async function list({ api, store, now }: ReconcileParts, startedAt: number, tally: Tally): Promise<boolean> {
  const before = store.progress();
  const windowStart = startedAt - WINDOW_MS;
  // What is behind a listing of 3 days ago is out of the window by now.
  const cut = before.listing && before.listing.startedAt > windowStart ? before.listing : undefined;
  const listing = cut ?? { startedAt, floor: Math.max(windowStart, before.watermark - OVERLAP_MS) };
  let cursor = cut?.cursor;
  while (tally.pages < MAX_PAGES_PER_RUN && now() - startedAt < RUN_MS) {
    const page = await api.list(cursor);
    tally.pages += 1;
    tally.deliveries += page.attempts.length;
    const isLast = page.attempts.some(({ deliveredAt }) => deliveredAt < listing.floor);
    cursor = isLast ? undefined : page.next;
    const tracked = remember(page.attempts, store.find);
    const progress =
      cursor === undefined
        ? { ...store.progress(), watermark: listing.startedAt, listing: undefined }
        : { ...store.progress(), listing: { ...listing, cursor } };
    store.commit({ progress, tracked });
    if (cursor === undefined) {
      store.settle(windowStart, listing.floor <= listing.startedAt - WINDOW_MS);
      return true;
    }
  }
  return false;
}

async function ask(parts: ReconcileParts, startedAt: number, tally: Tally): Promise<void> {
  const { hook, api, store, report, now, wait } = parts;
  const due = wanting(store.unsucceeded(), startedAt).slice(0, MAX_ASKS_PER_RUN);
  for (const [index, tracked] of due.entries()) {
    if (index > 0) await wait(ASK_PAUSE_MS);
    if (now() - startedAt >= RUN_MS) return;
    // Counted first: a run that dies in between may have asked once too few, never once too often.
    store.commit({ tracked: [{ ...tracked, asked: tracked.asked + 1, askedAt: now() }] });
    try {
      await api.redeliver(tracked.newestId);
      tally.asked += 1;
    } catch (error) {
      const code = error instanceof OnionhookError ? error.code : undefined;
      if (code === "ERR_GITHUB_RATE_LIMIT" || code === "ERR_GITHUB_TOKEN")
        store.commit({ tracked: [tracked] });
      // About this delivery alone: it must not keep the others from being asked for.
      if (code !== "ERR_GITHUB_HOOK" && code !== "ERR_GITHUB_REFUSED") throw error;
      report("error", { ...describeError(error), hook, delivery: tracked.guid });
    }
  }
}

/** What has to be remembered anew after these attempts, by GUID. */
function remember(
  attempts: readonly Attempt[],
  find: (guid: string) => Tracked | undefined,
): Iterable<Tracked> {
  const changed = new Map<string, Tracked>();
  for (const attempt of attempts) {
    const before = changed.get(attempt.guid) ?? find(attempt.guid);
    const after = merge(before, attempt);
    if (after && after !== before) changed.set(attempt.guid, after);
  }
  return changed.values();
}

/** `known` itself when the attempt tells nothing new; undefined when there is nothing to remember. */
function merge(known: Tracked | undefined, attempt: Attempt): Tracked | undefined {
  const succeeded = attempt.outcome === "succeeded";
  // Nothing older is to come that could be taken for a failure.
  if (!known && succeeded && !attempt.redelivery) return undefined;
  const isNewest = !known || attempt.deliveredAt > known.newestAt || attempt.id === known.newestId;
  const after: Tracked = {
    guid: attempt.guid,
    rooted: known?.rooted || !attempt.redelivery,
    succeeded: known?.succeeded || succeeded,
    pending: isNewest ? attempt.outcome === "pending" : known.pending,
    oldestAt: Math.min(known?.oldestAt ?? attempt.deliveredAt, attempt.deliveredAt),
    newestAt: isNewest ? attempt.deliveredAt : known.newestAt,
    newestId: isNewest ? attempt.id : known.newestId,
    asked: known?.asked ?? 0,
    askedAt: known?.askedAt ?? 0,
  };
  const isNew =
    known?.newestId !== after.newestId ||
    known.oldestAt !== after.oldestAt ||
    known.rooted !== after.rooted ||
    known.succeeded !== after.succeeded ||
    known.pending !== after.pending;
  return isNew ? after : known;
}

/** Whether no attempt within the window succeeded, and none is under way. */
export function hasFailed(tracked: Tracked, now: number): boolean {
  const isUnderWay = tracked.pending && now - tracked.newestAt < MAX_PENDING_MS;
  return tracked.rooted && !tracked.succeeded && !isUnderWay && now - tracked.oldestAt < WINDOW_MS;
}

/** Those for which a redelivery is to be asked now, the oldest first: they leave the window first. */
export function wanting(all: readonly Tracked[], now: number): Tracked[] {
  return all
    .filter((tracked) => {
      const distance = DISTANCES_MS[tracked.asked];
      const since = now - Math.max(tracked.newestAt, tracked.askedAt);
      return distance !== undefined && since >= distance && hasFailed(tracked, now);
    })
    .toSorted((one, other) => one.oldestAt - other.oldestAt);
}
