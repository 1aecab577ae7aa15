#!/usr/bin/env node
import { builder } from "./builder.ts";
import { type Command, EXIT, runCommand } from "./command.ts";
import { dev } from "./dev/dev.ts";
import { keys } from "./keys.ts";
import { makeOutput } from "./output.ts";
import { relay } from "./relay.ts";
import { router } from "./router.ts";
import { send } from "./send.ts";

const COMMANDS: readonly Command[] = [dev, relay, router, builder, send, keys];

/** Types are stripped, and node:sqlite is there, from this version on. */
const NODE_MAJOR = 24;

async function main([name, ...args]: string[]): Promise<number> {
  const command = COMMANDS.find((candidate) => candidate.name === name);
  if (command) return runCommand(command, args);
  const wanted = name === undefined || name === "help" || name === "--help";
  const rows = COMMANDS.map((each) => `  ${each.name.padEnd(9)} ${each.summary}`);
  const usage = [
    "usage: onionhook COMMAND [options]\n",
    ...rows,
    "\nonionhook COMMAND --help tells more\n",
  ].join("\n");
  process[wanted ? "stdout" : "stderr"].write(
    wanted ? usage : `onionhook: error: no command ${name}\n${usage}`,
  );
  return wanted ? EXIT.ok : EXIT.usage;
}

async function checkedMain(args: string[]): Promise<number> {
  if (Number(process.versions.node.split(".")[0]) < NODE_MAJOR) {
    process.stderr.write(
      `onionhook: error: this is Node.js ${process.versions.node}; ${NODE_MAJOR} or newer is needed\n` +
        "onionhook: hint: npm start brings its own\n",
    );
    return EXIT.usage;
  }
  try {
    return await main(args);
  } catch (error) {
    makeOutput({ json: args.includes("--json") }).error(error);
    return EXIT.usage;
  }
}

// A command that has failed may leave something open; it is over all the same.
process.exit(await checkedMain(process.argv.slice(2)));
