import { chmod, lstat, stat, unlink } from "node:fs/promises";
import { connect } from "node:net";
import { dirname } from "node:path";
import { errnoCode, OnionhookError } from "../shared/errors.ts";

/** Only the user that runs the router: who may connect may try keys. */
const OWNER_ONLY = 0o600;
/** And a group, in a folder that hands its own to what is made there (setgid): it was made for that, as for Tor's. */
const OWNER_AND_GROUP = 0o660;
const SETGID = 0o2000;

/**
 * Makes room for a socket at `path`: removes one that an earlier process left behind, on which nobody
 * answers, and never anything else. Two routers that start on one path at the same moment may both
 * find it free; the later one then fails to listen.
 *
 * @throws OnionhookError `ERR_ROUTER_ENDPOINT` when something is there that is in use or is no socket; the
 *   system's own error when it does not let us look, or remove.
 */
export async function clearStaleSocket(path: string): Promise<void> {
  let isSocket: boolean;
  try {
    isSocket = (await lstat(path)).isSocket();
  } catch (error) {
    if (errnoCode(error) === "ENOENT") return;
    throw error;
  }
  if (!isSocket) throw occupied(path, "is not a socket");
  if (await answers(path)) throw occupied(path, "is in use by another process");
  await unlink(path);
}

/** Node.js gives a socket the permissions that the umask leaves: take away everybody else's. */
export async function restrictSocket(path: string): Promise<void> {
  const { mode } = await stat(dirname(path));
  await chmod(path, (mode & SETGID) === 0 ? OWNER_ONLY : OWNER_AND_GROUP);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    const settle = (answered: boolean) => {
      probe.destroy();
      resolve(answered);
    };
    probe.once("connect", () => settle(true));
    // Whatever else than a refusal went wrong (permissions, a full backlog), somebody may be there.
    probe.once("error", (error) => settle(errnoCode(error) !== "ECONNREFUSED"));
  });
}

function occupied(path: string, what: string): OnionhookError {
  return new OnionhookError("ERR_ROUTER_ENDPOINT", `the router cannot listen: ${path} ${what}`, {
    hint: "Choose another path in the router's configuration, or end the other process.",
  });
}
