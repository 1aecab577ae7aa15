/**
 * Where the control API listens: on a unix socket that only the relay's own user may open, and, where it is wished,
 * its readings on a loopback port. A relay that cannot be controlled still delivers: failures are reported.
 */
import { lstatSync, mkdirSync, rmSync } from "node:fs";
import type { Server } from "node:http";
import { connect } from "node:net";
import { dirname } from "node:path";
import { createAdaptorServer } from "@hono/node-server";
import type { Hono } from "hono";
import { describeError, errnoCode, OnionhookError } from "../../shared/errors.ts";
import type { Report } from "../../shared/report.ts";
import type { RelayConfig } from "../config.ts";
import { type ControlParts, makeControl, makeMonitoring } from "./app.ts";

export interface ControlSettings extends ControlParts {
  readonly control: RelayConfig["control"];
  readonly report: Report;
  /** Closes everything. */
  readonly signal: AbortSignal;
}

/** sizeof(sockaddr_un.sun_path) without the NUL that ends it: unix(7). */
const MAX_PATH_BYTES = 107;
/** Takes from a new socket what group and others may do. */
const OWNER_ONLY_UMASK = 0o177;
const LOOPBACK = "127.0.0.1";

/**
 * Serves until the signal; resolves when all is closed. Never rejects. Reports `listening {socket, metrics_port?}` once,
 * or an `error` for what could not be opened: `ERR_CONTROL_PATH`, `ERR_CONTROL_IN_USE`, `ERR_CONTROL_SOCKET`,
 * `ERR_METRICS_PORT`.
 */
export async function startControl(settings: ControlSettings): Promise<void> {
  const { control, report, signal } = settings;
  const { socket, metricsPort } = control;
  const opening = [openSocket(socket, makeControl(settings))];
  if (metricsPort !== undefined) opening.push(openPort(metricsPort, makeMonitoring(settings)));
  const opened = await Promise.allSettled(opening);
  const servers = opened.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
  for (const each of opened) if (each.status === "rejected") report("error", describeError(each.reason));
  if (opened[0]?.status === "fulfilled")
    report("listening", { socket, ...(servers.length > 1 && { metrics_port: metricsPort }) });
  await aborted(signal);
  await Promise.all(servers.map(close));
}

async function openSocket(path: string, app: Hono): Promise<Server> {
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) {
    throw new OnionhookError(
      "ERR_CONTROL_PATH",
      `${path} is longer than the ${MAX_PATH_BYTES} bytes of a socket's path`,
      {
        hint: "name a shorter one in control.socket of relay.json",
      },
    );
  }
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    await removeStale(path);
    const server = serverOf(app);
    const before = process.umask(OWNER_ONLY_UMASK);
    try {
      // The socket is bound, and has its mode, before this returns.
      server.listen(path);
    } finally {
      process.umask(before);
    }
    await listening(server);
    return server;
  } catch (cause) {
    if (cause instanceof OnionhookError) throw cause;
    const code = errnoCode(cause) ?? "unknown";
    throw new OnionhookError("ERR_CONTROL_SOCKET", `the control socket ${path} cannot be opened (${code})`, {
      hint: "control.socket of relay.json names it: in a folder of the relay's own",
      cause,
    });
  }
}

async function openPort(port: number, app: Hono): Promise<Server> {
  try {
    const server = serverOf(app);
    server.listen(port, LOOPBACK);
    await listening(server);
    return server;
  } catch (cause) {
    const code = errnoCode(cause) ?? "unknown";
    throw new OnionhookError("ERR_METRICS_PORT", `${LOOPBACK}:${port} cannot be opened (${code})`, {
      hint: "name another port in control.metrics_port of relay.json",
      cause,
    });
  }
}

function serverOf(app: Hono): Server {
  const server = createAdaptorServer({ fetch: app.fetch });
  // Without options for another protocol it is one of node:http.
  if (!("closeAllConnections" in server)) throw new TypeError("an HTTP/1 server was expected");
  return server;
}

/**
 * A relay that was killed leaves its socket behind.
 * @throws OnionhookError `ERR_CONTROL_IN_USE` when somebody answers on it; `ERR_CONTROL_SOCKET` when it is no socket.
 */
async function removeStale(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (!found) return;
  if (!found.isSocket()) {
    throw new OnionhookError("ERR_CONTROL_SOCKET", `${path} is there, and no socket`, {
      hint: "name another path in control.socket of relay.json",
    });
  }
  if (await answers(path)) {
    throw new OnionhookError("ERR_CONTROL_IN_USE", `another relay answers on ${path}`, {
      hint: "give each relay a data_dir, or a control.socket, of its own",
    });
  }
  rmSync(path, { force: true });
}

/** A full backlog (EAGAIN) or another user's socket (EACCES) is somebody, too. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", (error) => resolve(errnoCode(error) !== "ECONNREFUSED"));
  });
}

function listening(server: Server): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("listening", resolve);
    server.once("error", reject);
  });
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** Those who watch would keep it open for ever. */
function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
