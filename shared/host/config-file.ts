import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import * as v from "valibot";
import { errnoCode, OnionhookError } from "../errors.ts";

/**
 * Reads a JSON configuration file. Paths inside a file are relative to the file's own folder, which is
 * returned beside its content.
 * @throws OnionhookError `ERR_CONFIG_FILE` when it cannot be read or is not JSON.
 */
export function readConfigFile(path: string): { json: unknown; folder: string } {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw new OnionhookError("ERR_CONFIG_FILE", `${path} cannot be read (${errnoCode(cause) ?? "unknown"})`, {
      hint: "name the file with --config FILE",
      cause,
    });
  }
  try {
    return { json: JSON.parse(text), folder: dirname(resolve(path)) };
  } catch (cause) {
    throw new OnionhookError("ERR_CONFIG_FILE", `${path} is not JSON`, {
      hint: `check it with: node -e "JSON.parse(require('fs').readFileSync('${path}','utf8'))"`,
      cause,
    });
  }
}

/** Reads a setting. When that throws, it is one of the faults of the configuration, and the others are looked for, too. */
export type ReadSetting = <Value>(read: () => Value) => Value;

/**
 * A program's configuration: of its schema, as `make` reads it. All faults come at once: those of form, and what is wrong with
 * each address, key and key file.
 * @param make what it returns is dropped when there was a fault; what a faulty `setting` gives is undefined then.
 * @throws OnionhookError `ERR_CONFIG`, naming for each fault the key, what was found and what was expected; the only fault
 * that there is, when a setting's reading threw it.
 */
export function makeConfig<Schema extends v.GenericSchema, Config>(
  program: string,
  schema: Schema,
  json: unknown,
  make: (config: v.InferOutput<Schema>, setting: ReadSetting) => Config,
): Config {
  const { success, output, issues = [] } = v.safeParse(schema, json, { message: faultOf });
  const faults: OnionhookError[] = [];
  const isWhole = () => success && faults.length === 0;
  const setting: ReadSetting = (read) => {
    try {
      return read();
    } catch (error) {
      if (error instanceof OnionhookError) faults.push(error);
      else if (isWhole()) throw error;
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what is made of it is dropped
      return undefined as never;
    }
  };
  try {
    // Where the form is wrong this is as much of it as there is.
    const config = make(output, setting);
    if (isWhole()) return config;
  } catch (error) {
    // Else it stumbled over a fault, which is told.
    if (isWhole()) throw error;
  }
  const [first, ...others] = faults;
  if (success && first !== undefined && others.length === 0) throw first;
  throw faulty(program, [
    ...issues.map((issue) => `${v.getDotPath(issue) ?? "the file"}: ${issue.message}`),
    ...faults.map(({ message, hint }) => (hint === undefined ? message : `${message}\n    ${hint}`)),
  ]);
}

/**
 * Checks the form of a program's configuration alone.
 * @throws OnionhookError `ERR_CONFIG` as {@link makeConfig}
 */
export function checkConfig<Schema extends v.GenericSchema>(
  program: string,
  schema: Schema,
  json: unknown,
): v.InferOutput<Schema> {
  return makeConfig(program, schema, json, (config) => config);
}

function faulty(program: string, faults: readonly string[]): OnionhookError {
  return new OnionhookError(
    "ERR_CONFIG",
    `the ${program}'s configuration has ${faults.length} fault(s)\n  ${faults.join("\n  ")}`,
    {
      hint: "docs/configuration.md lists every key",
    },
  );
}

const KINDS: Readonly<Record<string, string>> = {
  Array: "a list",
  Object: "an object",
  string: "a string",
  number: "a number",
  boolean: "true or false",
};

/** In our words, where a schema has none of its own. */
function faultOf({ kind, type, expected, received, message }: v.BaseIssue<unknown>): string {
  if (kind !== "schema" || expected === null) return message;
  if (type.endsWith("object") && expected === "never") return "is not a key of this file";
  if (type.endsWith("object") && received === "undefined") return "is missing";
  return `${KINDS[expected] ?? expected} was expected, found ${KINDS[received] ?? received}`;
}
