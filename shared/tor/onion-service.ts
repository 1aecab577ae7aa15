/**
 * Keeps an onion service published for as long as we live, through the control port of a tor that may
 * die and come back.
 *
 * | state     | on                                | next, and what is reported                      |
 * |-----------|-----------------------------------|-------------------------------------------------|
 * | waiting   | connected, added, descriptor up   | published: `published {}`                       |
 * | waiting   | update()                          | waiting, at once: taken back, and added anew    |
 * | waiting   | any failure                       | waiting, twice as long (100 ms to 5 s)          |
 * | published | the control connection ends       | waiting, 100 ms: `unpublished {}`               |
 * | published | introduction points stay lost     | the same, having ended the connection           |
 * | published | update()                          | taken back, added anew, descriptor up:          |
 * |           |                                   | published: `clients {allowed}`                  |
 * | any       | close(), `signal`                 | closed; the service ends with its connection    |
 *
 * The service belongs to our control connection (it is not detached), so tor forgets it when we die.
 *
 * Why update() takes the service back: added anew it has other introduction points, so that the descriptor of
 * somebody who was let in before leads nowhere from then on. Tor leaves the circuits that were built already,
 * so nobody's connection breaks; docs/onion.md says what that means for somebody who is shut out.
 *
 * Why introduction points are watched: tor limits how many circuits to them a service may build in
 * 300 s, and publishes no new descriptor while some are missing (hs_service.c). Relays that die in quick
 * succession use that limit up, and nobody reaches the service for minutes; added anew, it begins anew.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { OnionhookError, describeError } from "../errors.ts";
import type { Report } from "../report.ts";
import { addOnion, addOnionCommand, countClients, type OnionAccess, type OnionForm } from "./add-onion.ts";
import { BOOTSTRAPPED, type BootstrapState, followBootstrap, stuck } from "./bootstrap.ts";
import { connectControl, type Control } from "./control.ts";
import type { LocalAddress } from "./local-socket.ts";
import { onionAddress } from "./onion-keys.ts";

export interface OnionServiceOptions extends OnionForm {
  /** The control port of the tor that serves it. */
  control: LocalAddress;
  access: OnionAccess;
  /**
   * Milliseconds that introduction points may be missing before the service is added anew. Default
   * {@link INTRODUCTION_GRACE_MS}; 6000 is right for the private network, where circuits take no time.
   */
  introductionGraceMs?: number | undefined;
  report: Report;
  signal?: AbortSignal | undefined;
}

export interface OnionService {
  /** `<56 characters>.onion`. Not for logs. */
  readonly address: string;
  /** Resolves when it is published, and as {@link update} said last; rejects when it is closed before. */
  readonly published: Promise<void>;
  /**
   * Who may connect from now on. Nothing happens when that is who may already.
   * @throws as {@link publishOnionService}
   */
  update(access: OnionAccess): void;
  /** Takes the service down. Resolves when nothing of it runs any more. */
  close(): Promise<void>;
}

/** Milliseconds before the first and the longest pause between two tries: a tor is back in about 1 s. */
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5000;
/** Milliseconds for a descriptor to reach its first directory; 2 s are usual, a cold tor takes longer. */
const UPLOAD_TIMEOUT_MS = 60_000;
/** Milliseconds between looks at the introduction points. */
const INTRODUCTION_CHECK_MS = 2000;
/** Introduction points of a service: three for each of its two descriptors (rend-spec-v3). */
const INTRODUCTION_POINTS = 6;
/** Milliseconds: tor replaces a lost introduction point within seconds while it may. */
const INTRODUCTION_GRACE_MS = 30_000;

/**
 * Begins to publish and goes on until it is closed.
 * @throws OnionhookError `ERR_TOR_ONION_OPEN` without clients and without `open`;
 *   `ERR_TOR_CLIENT_KEY` for a key that anybody could use; `ERR_TOR_ONION_TARGET` for a path that Tor cannot be
 *   told. RangeError for a wrong port or target.
 */
export function publishOnionService(options: OnionServiceOptions): OnionService {
  const { report, introductionGraceMs: graceMs = INTRODUCTION_GRACE_MS } = options;
  const address = onionAddress(options.seed);
  let command = addOnionCommand(options, options.access);
  let changing = new AbortController();
  const closing = new AbortController();
  const signal =
    options.signal === undefined ? closing.signal : AbortSignal.any([closing.signal, options.signal]);
  let published = makePublished();

  /** One life of a control connection. Returns when it ends, having been published or not. */
  async function publishOnce(onPublished: () => void): Promise<void> {
    const control = await connectControl(options.control, { signal });
    const end = (): void => control.close();
    signal.addEventListener("abort", end, { once: true });
    try {
      const bootstrap = await followBootstrap(control, report);
      for (;;) {
        const stop = AbortSignal.any([signal, changing.signal]);
        const uploaded = descriptorUploaded(control, address, bootstrap, stop);
        const added = addOnion(control, command, options.pow);
        try {
          // oxlint-disable-next-line no-await-in-loop
          await Promise.all([uploaded, added]);
        } catch (error) {
          if (!stop.aborted || signal.aborted) throw error;
          // What Tor was not asked to publish it could not take back.
          // oxlint-disable-next-line no-await-in-loop
          await added;
        }
        if (!stop.aborted) onPublished();
        // oxlint-disable-next-line no-await-in-loop
        await introductionsLost(control, address, graceMs, stop);
        if (!stop.aborted || signal.aborted) return;
        // oxlint-disable-next-line no-await-in-loop
        await control.command(`DEL_ONION ${address.replace(/\.onion$/, "")}`);
      }
    } finally {
      signal.removeEventListener("abort", end);
      control.close();
    }
  }

  async function supervise(): Promise<void> {
    let pause = FIRST_PAUSE_MS;
    let lastCode: string | undefined;
    while (!signal.aborted) {
      let isPublished = false;
      try {
        await publishOnce(() => {
          if (isPublished) report("clients", { allowed: countClients(command) });
          else report("published", {});
          isPublished = true;
          pause = FIRST_PAUSE_MS;
          lastCode = undefined;
          published.resolve();
        });
      } catch (error) {
        if (signal.aborted) break;
        const described = describeError(error);
        // Said once, not at every try.
        if (described.code !== lastCode) report("error", { ...described });
        lastCode = described.code;
      }
      if (isPublished) report("unpublished", {});
      await sleep(pause, undefined, { signal }).catch(() => undefined);
      pause = isPublished ? FIRST_PAUSE_MS : Math.min(2 * pause, LONGEST_PAUSE_MS);
    }
    published.reject(new OnionhookError("ERR_TOR_ONION_CLOSED", "the onion service was closed"));
  }

  const done = supervise();
  return {
    address,
    get published() {
      return published.promise;
    },
    update(access) {
      const next = addOnionCommand(options, access);
      if (next === command) return;
      command = next;
      if (!signal.aborted) published = makePublished();
      changing.abort();
      changing = new AbortController();
    },
    async close() {
      closing.abort();
      await done;
    },
  };
}

function makePublished(): PromiseWithResolvers<void> {
  const published = Promise.withResolvers<void>();
  // Whoever does not wait for it need not handle its failure either.
  published.promise.catch(() => undefined);
  return published;
}

/** Counts uploads only that began after this was called: one that was on its way names older introduction points. */
async function descriptorUploaded(
  control: Control,
  address: string,
  bootstrap: () => BootstrapState,
  signal: AbortSignal,
): Promise<void> {
  const id = address.replace(/\.onion$/, "");
  const begun = new Set<string>();
  const isOurs = (text: string): boolean => {
    const [action, onion, , directory = ""] = text.split(" ");
    if (onion !== id) return false;
    if (action === "UPLOAD") begun.add(directory);
    return action === "UPLOADED" && begun.has(directory);
  };
  const limit = { timeoutMs: UPLOAD_TIMEOUT_MS, signal };
  await control.waitFor("HS_DESC", isOurs, limit, () => notUploaded(bootstrap()));
}

function notUploaded(state: BootstrapState): OnionhookError {
  const isReady = state.progress === BOOTSTRAPPED;
  const why = isReady ? "though Tor is ready" : stuck(state).message;
  return new OnionhookError(
    "ERR_TOR_ONION_UPLOAD",
    `the onion service's descriptor was not uploaded in ${UPLOAD_TIMEOUT_MS / 1000} s: ${why}`,
    {
      hint: "Tried again by itself. If it stays, look at this machine's network and clock, and at Tor's log.",
      retryable: true,
    },
  );
}

/** Resolves when introduction points have been missing for `graceMs`, the connection ended, or `stop` aborts. */
async function introductionsLost(
  control: Control,
  address: string,
  graceMs: number,
  stop: AbortSignal,
): Promise<void> {
  const id = address.replace(/\.onion$/, "");
  const isOurs = (circuit: string): boolean => circuit.includes("HSSI_ESTABLISHED") && circuit.includes(id);
  const ended = new AbortController();
  void control.closed.then(() => ended.abort());
  const signal = AbortSignal.any([ended.signal, stop]);
  let completeAt = performance.now();
  while (performance.now() - completeAt < graceMs) {
    await sleep(INTRODUCTION_CHECK_MS, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    const circuits = (await control.getInfo("circuit-status")).split("\n");
    if (circuits.filter(isOurs).length >= INTRODUCTION_POINTS) completeAt = performance.now();
  }
}
