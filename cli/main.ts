#!/usr/bin/env node
import { type Command, EXIT, runCommand } from "./command.ts";
import { makeOutput } from "./output.ts";

/** Each is loaded when it is wanted: to load all takes a second. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  dev: async () => (await import("./dev/dev.ts")).dev,
  relay: async () => (await import("./relay.ts")).relay,
  router: async () => (await import("./router.ts")).router,
  builder: async () => (await import("./builder.ts")).builder,
  send: async () => (await import("./send.ts")).send,
  keys: async () => (await import("./keys.ts")).keys,
  status: async () => (await import("./status.ts")).status,
  list: async () => (await import("./list.ts")).list,
  show: async () => (await import("./show.ts")).show,
  retry: async () => (await import("./retry.ts")).retry,
  replay: async () => (await import("./replay.ts")).replay,
  watch: async () => (await import("./watch.ts")).watch,
};

/** Types are stripped, and node:sqlite is there, from this version on. */
const NODE_MAJOR = 24;

async function main([name, ...args]: string[]): Promise<number> {
  const load = name === undefined || !Object.hasOwn(COMMANDS, name) ? undefined : COMMANDS[name];
  if (load) return runCommand(await load(), args);
  const wanted = name === undefined || name === "help" || name === "--help";
  const all = await Promise.all(Object.values(COMMANDS).map((loadOne) => loadOne()));
  const rows = all.map((each) => `  ${each.name.padEnd(9)} ${each.summary}`);
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
