import type { BodyFacts } from "../../shared/body-facts.ts";
import { concatBytes, encodeBase64, encodeUtf8 } from "../../shared/bytes.ts";
import { DELIVERY_ID, SIGNATURE } from "../../shared/delivery.ts";
import { OnionhookError } from "../../shared/errors.ts";
import { CANARY_EVENT, topicOf } from "../../shared/topic.ts";
import { scanBody } from "../../shared/webhook-body.ts";
import { checkDeclaredLength, withBody } from "./body.ts";
import type { EdgeConfig, Source } from "../config.ts";
import { shapeFault } from "./event-shape.ts";
import { formPayload } from "./form.ts";
import { matchesRepository } from "../recipient.ts";
import { Refusal } from "../refusal.ts";
import { hmacKey, verifySignature } from "./signature.ts";

/** A delivery whose signature and form have been checked, ready to be sealed. */
export interface Webhook {
  id: string;
  event: string;
  topic: string;
  /** The body's own, of an event that has one; else the header's. */
  hookId: number | null;
  signature: string;
  /** The JSON, however it came. */
  payload: Uint8Array<ArrayBuffer>;
  /** Whether it came as a form, so that `signature` does not cover `payload`. */
  form: boolean;
  /** Where `payload` has string values that begin with an escaped U+0000. */
  leadingNul: number[];
  facts: BodyFacts;
  /**
   * Names this payload and no other, and says nothing of it to whoever lacks the edge's secret key; with the event, so
   * that a body under a false name does not keep the true one out.
   */
  bodyTag: string;
  /** Whether GitHub may mean the same body twice. */
  repeatable: boolean;
}

/**
 * Checks a POST of GitHub's in the order of docs/protocol.md §1: method, content type, size, headers,
 * signature, body, and whether headers and body agree. Only what is signed is looked into.
 * `use` is what is done with it while its bytes are held.
 * @throws Refusal naming what was wrong.
 */
export async function withWebhook<Result>(
  request: Request,
  config: EdgeConfig,
  use: (webhook: Webhook) => Promise<Result>,
): Promise<Result> {
  if (request.method !== "POST") throw new Refusal("ERR_METHOD");
  const form = isForm(request.headers.get("content-type") ?? "");
  checkDeclaredLength(request);
  const id = header(request, "X-GitHub-Delivery", DELIVERY_ID);
  const event = header(request, "X-GitHub-Event", /^[A-Za-z]\w{0,99}$/).toLowerCase();
  if (event === CANARY_EVENT)
    throw new Refusal("ERR_HEADER", "the header X-GitHub-Event names no event of GitHub's");
  const signature = header(request, "X-Hub-Signature-256", SIGNATURE);
  const hookId = request.headers.has("x-github-hook-id")
    ? Number(header(request, "X-GitHub-Hook-ID", /^\d{1,15}$/))
    : null;

  return withBody(request, async (rawBody) => {
    const signers = await signersOf(config.sources, hookId, rawBody, signature);
    if (signers.length === 0) throw new Refusal("ERR_SIGNATURE");
    const payload = form ? formPayload(rawBody) : rawBody;
    if (!payload) throw new Refusal("ERR_BODY", "the form does not hold one field payload");
    const scan = scanBody(payload);
    if (!scan.ok) throw new Refusal("ERR_BODY", scan.fault);
    const { facts, leadingNul } = scan;
    if (!signers.some((source) => covers(source, facts))) throw new Refusal("ERR_SOURCE");
    // GitHub does not sign its headers: what the signed body says counts.
    const fault = shapeFault(event, facts.keys);
    if (fault !== undefined) throw new Refusal("ERR_DISAGREE", fault);
    return use({
      id,
      event,
      topic: topic(event),
      hookId: facts.hookId === undefined ? hookId : Number(facts.hookId),
      signature,
      payload,
      form,
      leadingNul,
      facts,
      bodyTag: `${event}:${await tagOf(config, payload)}`,
      repeatable: REPEATABLE.has(event),
    });
  });
}

function isForm(contentType: string): boolean {
  if (/^application\/json\s*(;|$)/i.test(contentType)) return false;
  if (/^application\/x-www-form-urlencoded\s*(;|$)/i.test(contentType)) return true;
  throw new Refusal("ERR_CONTENT_TYPE");
}

function header(request: Request, name: string, form: RegExp): string {
  const value = request.headers.get(name);
  if (value === null) throw new Refusal("ERR_HEADER", `the header ${name} is missing`);
  if (!form.test(value)) throw new Refusal("ERR_HEADER", `the header ${name} is malformed`);
  return value;
}

function topic(event: string): string {
  try {
    return topicOf(event);
  } catch (error) {
    if (error instanceof OnionhookError) throw new Refusal("ERR_HEADER", error.message);
    throw error;
  }
}

/** The sources of which a secret made the signature. Every secret is tried, so that time tells nothing. */
async function signersOf(
  sources: readonly Source[],
  hookId: number | null,
  rawBody: Uint8Array,
  signature: string,
): Promise<Source[]> {
  const signers: Source[] = [];
  for (const source of sources) {
    if (source.hookIds && (hookId === null || !source.hookIds.includes(hookId))) continue;
    let signed = false;
    for (const secret of source.secrets) {
      signed = (await verifySignature(secret, rawBody, signature)) || signed;
    }
    if (signed) signers.push(source);
  }
  return signers;
}

/** Whether a source may speak for what the body says it is about: its repository, or else its organisation. */
function covers({ repositories, organizations }: Source, facts: BodyFacts): boolean {
  if (!repositories && !organizations) return true;
  if (repositories && matchesRepository(repositories, facts.repository)) return true;
  const owner = facts.repository === undefined ? facts.organization : ownerOf(facts);
  return owner !== undefined && (organizations?.includes(owner.toLowerCase()) ?? false);
}

/** The repository's owner, if its name and what is said of its owner agree. */
function ownerOf({ repository = "", owner }: BodyFacts): string | undefined {
  const [named = ""] = repository.split("/");
  return owner === undefined || owner.toLowerCase() === named.toLowerCase() ? named : undefined;
}

/** Distinguishes this use of the edge's secret key from every other. */
const TAG_PURPOSE = encodeUtf8("onionhook body tag\0");
const TAG_BYTES = 16;

const tagKeys = new WeakMap<EdgeConfig, CryptoKey>();

/** Events that people trigger and whose bodies tell nothing of the time: the second is not the first again. */
const REPEATABLE: ReadonlySet<string> = new Set(["workflow_dispatch", "repository_dispatch"]);

async function tagOf(config: EdgeConfig, payload: Uint8Array): Promise<string> {
  const key = tagKeys.get(config) ?? (await hmacKey(concatBytes(TAG_PURPOSE, config.boxSecret), "sign"));
  tagKeys.set(config, key);
  return encodeBase64(new Uint8Array(await crypto.subtle.sign("HMAC", key, payload), 0, TAG_BYTES));
}
