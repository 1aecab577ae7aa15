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

/**
 * Checks a program's configuration against its schema, all faults of form at once.
 * @throws OnionhookError `ERR_CONFIG`, naming for each fault the key, what was found and what was expected.
 */
export function checkConfig<Schema extends v.GenericSchema>(
  program: string,
  schema: Schema,
  json: unknown,
): v.InferOutput<Schema> {
  const result = v.safeParse(schema, json, { message: faultOf });
  if (result.success) return result.output;
  const faults = result.issues.map((issue) => `${v.getDotPath(issue) ?? "the file"}: ${issue.message}`);
  throw new OnionhookError(
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
