/**
 * After one tor of the private network was started again: makes the clients forget what they learned
 * while that tor was away. A client that failed to reach an onion service's introduction points avoids
 * them for two minutes, even when they are back (Tor's HS_CACHE_CLIENT_INTRO_STATE_MAX_AGE), unless it
 * is told to begin anew.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { OnionhookError } from "../errors.ts";
import { connectControl, type Control } from "./control.ts";
import { torPaths } from "./private-network-plan.ts";

/**
 * Milliseconds to wait for the service's next descriptor before the client is told without one: a relay
 * may be back so soon that the service keeps its introduction points and publishes nothing.
 */
const SOON_MS = 3000;
/**
 * Milliseconds to go on waiting for one after that, and tell the client again. A service that lost all
 * its introduction points needs about 10 s.
 */
const LATER_MS = 15_000;
/** Milliseconds for a tor that was just started to open its control port, and between two looks. */
const CONTROL_TIMEOUT_MS = 15_000;
const CONTROL_PAUSE_MS = 100;

/**
 * Gives the clients new circuits and empty caches when the service has published a descriptor, or soon
 * when that takes long, and then once more. Resolves within half a minute.
 * @param name of the tor that was started again
 */
export async function refreshClients(
  dir: string,
  clients: readonly string[],
  name: string,
  signal: AbortSignal,
): Promise<void> {
  const service = await patientControl(torPaths(dir, "service").control, signal);
  const republished = (timeoutMs: number): Promise<boolean> =>
    service
      .waitFor("HS_DESC", (text) => text.startsWith("UPLOADED "), { timeoutMs, signal })
      .then(
        () => true,
        () => false,
      );
  const newCircuits = async (): Promise<void> => {
    const sockets = clients.map((client) => torPaths(dir, client).control);
    await Promise.all(sockets.map((path) => newCircuitsOf(path, signal)));
  };
  try {
    // The service itself always publishes again, and before that a client has nothing to find.
    const wait = name === "service" ? LATER_MS : SOON_MS;
    const isSoon = await republished(wait);
    await newCircuits();
    if (!isSoon && (await republished(LATER_MS))) await newCircuits();
  } finally {
    service.close();
  }
}

async function newCircuitsOf(path: string, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const client = await patientControl(path, signal);
  try {
    await client.command("SIGNAL NEWNYM");
  } finally {
    client.close();
  }
}

/** A control connection to a tor that may be just starting. */
async function patientControl(path: string, signal: AbortSignal): Promise<Control> {
  const deadline = performance.now() + CONTROL_TIMEOUT_MS;
  for (;;) {
    try {
      return await connectControl({ path }, { signal });
    } catch (error) {
      const worthIt = error instanceof OnionhookError && error.retryable;
      if (!worthIt || performance.now() > deadline) throw error;
    }
    await sleep(CONTROL_PAUSE_MS, undefined, { signal });
  }
}
