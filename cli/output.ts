import { describeError } from "../shared/errors.ts";
import type { Report } from "../shared/report.ts";
import { visible } from "./visible.ts";

/** Where a command's words go. With `json`, stdout holds JSON lines only and people's text goes to stderr. */
export interface Output {
  json: boolean;
  /** Somebody looks on: what is being done may be told, too. */
  isTerminal: boolean;
  /** One event: a JSON line, or a line for people. */
  report: Report;
  /** Passes an event on as it came from a part; `at` is the part's own. JSON only. */
  forward(fields: Readonly<Record<string, unknown>>): void;
  /** A line for people; others may follow it in `line` if they are indented. */
  say(line: string): void;
  /** The result of a command: the object with `json`, else the lines. */
  result(object: Readonly<Record<string, unknown>>, ...lines: string[]): void;
  error(error: unknown): void;
}

export function makeOutput({ json }: { json: boolean }): Output {
  const toPrograms = (object: object) => void process.stdout.write(`${JSON.stringify(object)}\n`);
  const toPeople = (stream: NodeJS.WriteStream, line: string) => void stream.write(`${visible(line)}\n`);
  const say = (line: string) => toPeople(json ? process.stderr : process.stdout, line);
  const forward = (fields: Readonly<Record<string, unknown>>) => {
    if (json) toPrograms(fields);
  };
  return {
    json,
    isTerminal: !json && process.stdout.isTTY,
    forward,
    say,
    report(event, fields = {}) {
      if (json) forward({ event, at: nowMs(), ...fields });
      else say([new Date().toISOString(), event, ...Object.entries(fields).map(pair)].join(" "));
    },
    result(object, ...lines) {
      if (json) toPrograms(object);
      else for (const line of lines) say(line);
    },
    error(error) {
      const { code, message, hint } = describeError(error);
      if (json) toPrograms({ event: "error", at: nowMs(), code, message, hint });
      toPeople(process.stderr, `onionhook: error: ${message} (${code})`);
      if (hint !== undefined) toPeople(process.stderr, `onionhook: hint: ${hint}`);
    },
  };
}

/** Milliseconds since 1970, with fractions. */
export function nowMs(): number {
  return performance.timeOrigin + performance.now();
}

/** Quoted unless plain: a peer's words must not look like a line of ours. */
function pair([name, value]: [string, unknown]): string {
  return `${name}=${typeof value === "string" && /^[\w.:/@+=-]+$/.test(value) ? value : JSON.stringify(value)}`;
}
