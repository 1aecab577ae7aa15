/**
 * Tells systemd how the service is (sd_notify(3)), where it asked for it: a unit of `Type=notify`. Node has no unix
 * datagram sockets, so systemd's own `systemd-notify` sends the messages; the unit needs `NotifyAccess=all`.
 */
import { execFile } from "node:child_process";
import { describeError, OnionhookError } from "../errors.ts";
import type { Report } from "../report.ts";

export interface Notifier {
  /** The service is up. Said once. */
  ready(): void;
  /** One line for `systemctl status`. Of several in a row only the last may be sent. */
  status(line: string): void;
  /** The service ends; the watchdog is told no more. Resolves when everything was said. */
  stopping(): Promise<void>;
}

/** Milliseconds for one message: systemd takes it at once, or it is away. */
const SEND_MS = 5000;

/**
 * Takes the variables that systemd set out of `env`: what the service starts is not to speak for it. Where there are
 * none this does nothing. A message that cannot be sent is reported once, `ERR_NOTIFY`.
 */
export function makeNotifier(env: NodeJS.ProcessEnv, report: Report): Notifier {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: watchdogUsec, WATCHDOG_PID: watchdogPid, PATH } = env;
  for (const name of ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]) delete env[name];
  if (socket === undefined) return { ready() {}, status() {}, stopping: () => Promise.resolve() };

  let tail = Promise.resolve();
  let told = false;
  let nextStatus: string | undefined;
  /** One after the other. @param message made when its turn has come. */
  const send = (message: () => string): Promise<void> => {
    tail = tail.then(async () => {
      try {
        await notify(message(), { NOTIFY_SOCKET: socket, ...(PATH !== undefined && { PATH }) });
      } catch (error) {
        if (!told) report("error", describeError(error));
        told = true;
      }
    });
    return tail;
  };

  // Half of the time, as sd_watchdog_enabled(3) recommends; a process that hangs does not get to it.
  const watched = watchdogUsec !== undefined && (watchdogPid ?? String(process.pid)) === String(process.pid);
  const watchdog = watched
    ? setInterval(() => void send(() => "WATCHDOG=1"), Number(watchdogUsec) / 2000)
    : undefined;
  watchdog?.unref();

  return {
    ready: () => void send(() => "READY=1"),
    status(line) {
      const isWaiting = nextStatus !== undefined;
      nextStatus = line.replaceAll(/\s+/g, " ");
      if (isWaiting) return;
      void send(() => {
        const latest = `STATUS=${nextStatus ?? ""}`;
        nextStatus = undefined;
        return latest;
      });
    },
    stopping() {
      clearInterval(watchdog);
      return send(() => "STOPPING=1");
    },
  };
}

/** @throws OnionhookError `ERR_NOTIFY` */
function notify(message: string, env: Record<string, string>): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile("systemd-notify", [message], { env, timeout: SEND_MS }, (cause) => {
      if (!cause) return resolve();
      const missing = "code" in cause && cause.code === "ENOENT";
      reject(
        new OnionhookError("ERR_NOTIFY", "systemd could not be told how this service is", {
          hint: missing
            ? "install systemd-notify, or use Type=exec in the unit"
            : "the unit needs NotifyAccess=all and AF_UNIX among its RestrictAddressFamilies",
          cause,
        }),
      );
    });
  });
}
