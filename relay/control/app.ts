/**
 * The control API: what an operator asks of a running relay, over HTTP on a unix socket. Who may open the socket may
 * ask everything. docs/operations.md lists the routes.
 */
import { type Context, Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import * as v from "valibot";
import type { Selection } from "../../shared/drain.ts";
import { describeError, OnionhookError } from "../../shared/errors.ts";
import {
  EVENT_ID,
  listQuery,
  MAX_LISTED,
  type ReplayRequest,
  replayRequest,
  retryRequest,
  type ShownEvent,
} from "./messages.ts";
import type { Status } from "../health.ts";
import { type Journeys, keyOf, makeJourneys } from "../journeys.ts";
import type { Metrics } from "../metrics.ts";
import type { Operations } from "../operations.ts";
import { type EventName, type HeldEvent, QUEUE_STATES, type QueueState } from "../queue/queue.ts";
import type { Reports } from "../reports.ts";
import { watchReports } from "../watch.ts";

export interface ControlParts {
  readonly operations: Operations;
  readonly metrics: Metrics;
  readonly reports: Pick<Reports, "subscribe">;
}

/** Bytes: ten thousand ids. */
const MAX_REQUEST_BYTES = 2 * 1024 * 1024;
/** Events that one step of a retry by state names. */
const RETRY_PAGE = 500;

/** What is not the asker's fault is 503: the relay goes on, and the same may be asked again. */
const STATUS_OF: Readonly<Record<string, 400 | 403 | 404 | 413>> = {
  ERR_REQUEST: 400,
  ERR_REQUEST_SIZE: 413,
  ERR_REDELIVER_DENIED: 403,
  ERR_NOT_HERE: 404,
  ERR_NO_ROUTE: 404,
};

export function makeControl({ operations, metrics, reports }: ControlParts): Hono {
  const journeys = makeJourneys(Date.now);
  reports.subscribe(journeys.note);
  const app = new Hono();
  app.onError(refuse);
  app.notFound(noRoute);
  app.use(
    bodyLimit({
      maxSize: MAX_REQUEST_BYTES,
      onError: (context) =>
        refuse(new OnionhookError("ERR_REQUEST_SIZE", "the request is too long"), context),
    }),
  );
  addReadings(app, { operations, metrics });
  app.get("/status", async (context) => context.json(await operations.status()));
  app.get("/events", async (context) => {
    const { state, limit } = checked(listQuery, context.req.query());
    const events =
      state === "done"
        ? journeys.done(limit).map((journey) => ({ journey }))
        : await held(operations, state, limit);
    return context.json({ events });
  });
  app.get("/events/:id", async (context) => {
    const events = await find(context.req.param("id"), operations, journeys);
    return context.json({ events });
  });
  app.post("/retry", async (context) => {
    const { ids, state } = checked(retryRequest, await body(context));
    if (state !== undefined) return context.json({ events: await retryState(operations, state) });
    const found: { id: string; held: HeldEvent[] }[] = [];
    for (const id of ids ?? []) found.push({ id, held: await operations.find(id) });
    const unknown = found.filter((each) => each.held.length === 0).map(({ id }) => id);
    const events = await operations.retry(unique(found.flatMap((each) => each.held)));
    return context.json({ events, ...(unknown.length > 0 && { unknown }) });
  });
  app.post("/replay", async (context) => {
    const { stream, how, ...rest } = checked(replayRequest, await body(context));
    const of = selectionOf(rest, new Date());
    return context.json(await operations.replay({ ...(stream !== undefined && { stream }), of, how }));
  });
  app.get(
    "/watch",
    () => new Response(watchReports(reports), { headers: { "content-type": "application/jsonl" } }),
  );
  return app;
}

/** Names under which a page that a browser shows could not reach a loopback port by rebinding its own name. */
const LOCAL_HOSTS: ReadonlySet<string> = new Set(["127.0.0.1", "localhost"]);

/** What monitoring reads over TCP: metrics and health, nothing else, and only under a loopback name. */
export function makeMonitoring(parts: Pick<ControlParts, "operations" | "metrics">): Hono {
  const app = new Hono();
  app.onError(refuse);
  app.notFound(noRoute);
  app.use(async (context, next) => {
    const host = (context.req.header("host") ?? "").replace(/:\d+$/, "");
    if (LOCAL_HOSTS.has(host)) return next();
    return context.json({ error: { code: "ERR_HOST", message: "this is for 127.0.0.1 and localhost" } }, 403);
  });
  addReadings(app, parts);
  return app;
}

function addReadings(app: Hono, { operations, metrics }: Pick<ControlParts, "operations" | "metrics">): void {
  app.get("/health", async (context) => {
    const { healthy, reasons, attention } = await operations.status();
    return context.json({ healthy, reasons, attention }, healthy ? 200 : 503);
  });
  app.get("/metrics", async (context) => {
    // Counters are worth reading also while the queue's store is away.
    const status = await operations.status().catch((): Status | undefined => undefined);
    return context.body(await metrics.render(status), 200, { "content-type": metrics.contentType });
  });
}

async function held(
  operations: Operations,
  state: QueueState | undefined,
  limit: number,
): Promise<ShownEvent[]> {
  const states = state === undefined ? QUEUE_STATES : [state];
  const lists = await Promise.all(states.map((each) => operations.list(each, limit)));
  return lists
    .flat()
    .toSorted((a, b) => a.addedAt - b.addedAt || a.seq - b.seq)
    .slice(0, limit)
    .map((event) => ({ held: event }));
}

async function find(id: string, operations: Operations, journeys: Journeys): Promise<ShownEvent[]> {
  if (!EVENT_ID.test(id)) throw wrong(["id: STREAM-SEQ or a delivery's GUID was expected"]);
  const inQueue = await operations.find(id);
  const seen = journeys.find(id);
  const events = unique([...inQueue, ...seen]).map((name): ShownEvent => {
    const isSame = (other: EventName) => keyOf(other) === keyOf(name);
    const event = inQueue.find(isSame);
    const journey = seen.find(isSame);
    return { ...(event && { held: event }), ...(journey && { journey }) };
  });
  if (events.length > 0) return events;
  throw new OnionhookError("ERR_NOT_HERE", `${id} is not here, nor among the last events that passed`, {
    hint: "the edge keeps more: onionhook replay --delivery GUID --missed has it sent again",
  });
}

async function retryState(operations: Operations, state: QueueState): Promise<number> {
  let events = 0;
  for (let seen = 0; seen < MAX_LISTED; seen += RETRY_PAGE) {
    const page = await operations.list(state, RETRY_PAGE);
    const retried = await operations.retry(page);
    events += retried;
    if (page.length < RETRY_PAGE || retried === 0) break;
  }
  return events;
}

/** @param now where the time ends when nobody says. */
function selectionOf(request: Omit<ReplayRequest, "how" | "stream">, now: Date): Selection {
  const { delivery, from, to, since, until } = request;
  if (delivery !== undefined) return { delivery };
  if (from !== undefined && to !== undefined) return { from, to };
  return { since: since ?? now.toISOString(), until: until ?? now.toISOString() };
}

function unique<Name extends EventName>(events: readonly Name[]): Name[] {
  return [...new Map(events.map((event) => [keyOf(event), event])).values()];
}

async function body(context: Context): Promise<unknown> {
  try {
    return await context.req.json();
  } catch {
    throw wrong(["the body: JSON was expected"]);
  }
}

/** @throws OnionhookError `ERR_REQUEST`, with every fault. */
function checked<Schema extends v.GenericSchema>(schema: Schema, input: unknown): v.InferOutput<Schema> {
  const result = v.safeParse(schema, input);
  if (result.success) return result.output;
  throw wrong(result.issues.map((issue) => `${v.getDotPath(issue) ?? "the request"}: ${issue.message}`));
}

function wrong(faults: readonly string[]): OnionhookError {
  return new OnionhookError(
    "ERR_REQUEST",
    `the request has ${faults.length} fault(s)\n  ${faults.join("\n  ")}`,
    {
      hint: "docs/operations.md lists what each route takes",
    },
  );
}

function noRoute(context: Context): Response {
  const message = `there is no ${context.req.method} ${context.req.path} here`;
  return refuse(new OnionhookError("ERR_NO_ROUTE", message), context);
}

function refuse(error: Error, context: Context): Response {
  const described = describeError(error);
  return context.json({ error: described }, STATUS_OF[described.code] ?? 503);
}
