/** What our router itself answers to a CALL, as its sources have it: no key could have sealed it. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { sealedSession } from "../../../shared/wamp/sealed-session.ts";
import type { WampSession } from "../../../shared/wamp/session.ts";
import { ErrorReply } from "../../../shared/wamp/wamp-error.ts";
import { payload, ring, URI } from "./forgeries.ts";

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), "utf8");

/** To UNREGISTER only. */
const NOT_TO_CALLS = ["wamp.error.no_such_registration"];

const uris = ["router/dealer.ts", "router/invocations.ts"]
  .flatMap((path) => [...read(path).matchAll(/"((?:wamp|onionhook)\.error\.[\w.]+)"/g)])
  .map(([, uri = ""]) => uri)
  .filter((uri) => !NOT_TO_CALLS.includes(uri));

it("the sources have them", () => {
  expect(uris).toEqual(expect.arrayContaining(["wamp.error.timeout", "onionhook.error.too_many_calls"]));
});

it.each([...new Set(uris)])("%s reaches the caller unsealed, and docs/cryptobox.md lists it", async (uri) => {
  const refusing: WampSession = {
    publish: async () => {},
    subscribe: async () => {},
    call: () => Promise.reject(new ErrorReply(uri)),
    register: async () => {},
    closed: new Promise(() => {}),
    close: async () => {},
  };
  await expect(sealedSession(refusing, ring).call(URI, payload)).rejects.toMatchObject({
    code: "ERR_WAMP_REFUSED",
    uri,
  });
  const [, list = ""] = read("docs/cryptobox.md").split(/^The list: /m);
  expect(list).toContain(`${uri.replace(/^wamp\.error\./, "")}\``);
});
