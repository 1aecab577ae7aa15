import { type ChildProcess, spawn } from "node:child_process";
import { errnoCode } from "../shared/errors.ts";
import { processStart } from "../shared/host/process-start.ts";

/** After SIGTERM at the time limit, for the command to end by itself. */
const GRACE_MS = 5000;

/** A process and when it began, so that another process with the same id is never taken for it. */
export interface ProcessMark {
  pid: number;
  /** {@link processStart} */
  started: string;
}

export interface Command {
  argv: readonly string[];
  directory: string;
  env: Readonly<Record<string, string>>;
  /** Open file that takes the command's output. */
  outputFile: number;
  timeoutMs: number;
  onStarted: (mark: ProcessMark) => void;
}

/**
 * Runs one command, without a shell, in a process group of its own, and ends the whole group at the
 * time limit or the signal. Resolves with its exit code as text, the name of the signal that ended it,
 * `timeout`, or the system's error code (`ENOENT`) when it could not be started. Rejects only with what
 * `onStarted` throws, after ending the command.
 */
export async function runCommand(command: Command, signal: AbortSignal): Promise<string> {
  const { argv, directory, env, outputFile, timeoutMs, onStarted } = command;
  const [program = "", ...args] = argv;
  let child: ChildProcess;
  try {
    child = spawn(program, args, {
      cwd: directory,
      env,
      stdio: ["ignore", outputFile, outputFile],
      detached: true,
      shell: false,
    });
  } catch (error) {
    return errnoCode(error) ?? "ERR_SPAWN";
  }
  const ended = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(errnoCode(error) ?? "ERR_SPAWN"));
    child.once("exit", (code, by) => resolve(String(code ?? by)));
  });
  const { pid } = child;
  if (pid === undefined) return ended;

  let timedOut = false;
  let grace: NodeJS.Timeout | undefined;
  const end = () => {
    killGroup(pid, "SIGTERM");
    grace = setTimeout(() => killGroup(pid, "SIGKILL"), GRACE_MS);
  };
  const limit = setTimeout(() => {
    timedOut = true;
    end();
  }, timeoutMs);
  signal.addEventListener("abort", end);
  try {
    onStarted({ pid, started: processStart(pid) ?? "" });
    const exit = await ended;
    return timedOut ? "timeout" : exit;
  } finally {
    clearTimeout(limit);
    clearTimeout(grace);
    signal.removeEventListener("abort", end);
    // What the command left behind in its group goes with it.
    killGroup(pid, "SIGKILL");
  }
}

/** Ends a command's group that an earlier life of the builder left running, if it is still that process. */
export function endLeftover({ pid, started }: ProcessMark): void {
  if (started !== "" && processStart(pid) === started) killGroup(pid, "SIGKILL");
}

function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // ESRCH: it is gone, which is what was wanted.
  }
}
