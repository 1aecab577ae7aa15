import { parseArgs, type ParseArgsOptionsConfig } from "node:util";
import * as v from "valibot";
import { OnionhookError } from "../shared/errors.ts";
import { makeOutput, type Output } from "./output.ts";

/** Exit codes, the same for every command. */
export const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

export interface Option {
  type: "string" | "boolean";
  /** What stands for the value in the help, e.g. `FILE`. */
  value?: string;
  help: string;
  default?: string | boolean;
}

export interface Call {
  options: Readonly<Record<string, string | boolean | undefined>>;
  positionals: readonly string[];
  output: Output;
}

/** One command of `onionhook`, in a file of its own. */
export interface Command {
  name: string;
  summary: string;
  usage: string;
  /** Whether it takes words beside its options. */
  takesWords?: boolean;
  options: Readonly<Record<string, Option>>;
  run: (call: Call) => Promise<number>;
}

const COMMON: Record<string, Option> = {
  json: { type: "boolean", help: "print one JSON object a line, for programs" },
  help: { type: "boolean", help: "print this" },
};

/** Parses the arguments of a command and runs it; resolves with the exit code. */
export async function runCommand(command: Command, args: string[]): Promise<number> {
  const options = { ...command.options, ...COMMON };
  const parsed = parse(command, options, args);
  const output = makeOutput({ json: parsed.values["json"] === true });
  if (parsed.values["help"] === true) {
    process.stdout.write(helpText(command, options));
    return EXIT.ok;
  }
  try {
    if (command.takesWords !== true) refuseWords(parsed.positionals);
    return await command.run({ options: parsed.values, positionals: parsed.positionals, output });
  } catch (error) {
    output.error(error);
    return error instanceof OnionhookError && error.code === "ERR_USAGE" ? EXIT.usage : EXIT.failed;
  }
}

/** The value of a string option, if it was given. */
export function text(call: Call, name: string): string | undefined {
  const value = call.options[name];
  return typeof value === "string" ? value : undefined;
}

/** @throws OnionhookError `ERR_USAGE` */
export function required(call: Call, name: string): string {
  const value = text(call, name);
  if (value === undefined) {
    throw new OnionhookError("ERR_USAGE", `--${name} is missing`, { hint: "add --help to see the options" });
  }
  return value;
}

/**
 * npm keeps the options that stand before its `--` for itself, and hands over their values alone.
 * @throws OnionhookError `ERR_USAGE`
 */
export function refuseWords([word]: readonly string[]): void {
  if (word === undefined) return;
  throw new OnionhookError("ERR_USAGE", `${JSON.stringify(word)} is nothing that this command takes`, {
    hint: "with npm, options come after --: npm start -- --once",
  });
}

/** None of our options may be given several times. */
const optionValues = v.record(v.string(), v.optional(v.union([v.string(), v.boolean()])));

function parse(command: Command, options: Record<string, Option>, args: string[]) {
  const config: ParseArgsOptionsConfig = {};
  for (const [name, { type, default: fallback }] of Object.entries(options)) {
    config[name] = fallback === undefined ? { type } : { type, default: fallback };
  }
  try {
    const { values, positionals } = parseArgs({ args, options: config, allowPositionals: true });
    return { values: v.parse(optionValues, values), positionals };
  } catch (cause) {
    throw new OnionhookError(
      "ERR_USAGE",
      cause instanceof Error ? cause.message : "the arguments are wrong",
      {
        hint: `npm run onionhook -- ${command.name} --help`,
      },
    );
  }
}

function helpText(command: Command, options: Record<string, Option>): string {
  const rows = Object.entries(options).map(([name, option]) => {
    const left = `--${name}${option.value === undefined ? "" : ` ${option.value}`}`;
    const fallback = typeof option.default === "string" ? ` (default ${option.default})` : "";
    return `  ${left.padEnd(24)} ${option.help}${fallback}`;
  });
  return [
    `${command.summary}\n`,
    `usage: onionhook ${command.usage}\n`,
    "options:",
    ...rows,
    "\nexit codes: 0 done, 1 failed, 2 wrong usage\n",
  ].join("\n");
}
