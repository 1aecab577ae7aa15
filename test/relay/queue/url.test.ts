import { expect, test } from "vitest";
import { queueKind } from "../../../relay/queue/url.ts";

test.each([
  ["embedded", "embedded"],
  ["local-redis", "local-redis"],
  ["redis-cluster://127.0.0.1:7000", "redis"],
  ["rediss-cluster://user:secret@a.example:7000,b.example:7000", "redis"],
  ["redis://127.0.0.1:6379/1", "redis"],
  ["rediss://user:secret@cache.example", "redis"],
  ["postgres://user:secret@127.0.0.1/relay", "postgres"],
  ["POSTGRESQL://127.0.0.1/relay", "postgres"],
])("%s is kept in %s", (url, kind) => {
  expect(queueKind(url)).toBe(kind);
});

test.each([
  ["mysql://user:secret@127.0.0.1/relay", "a URL that begins with mysql://"],
  ["redis-cluster://user:secret@127.0.0.1", "a URL that begins with redis-cluster://"],
  ["redis://user:secret@127.0.0.1:port", "a URL that begins with redis://"],
  ["user:secret@127.0.0.1", "something that is no URL"],
  ["Embedded", "something that is no URL"],
  ["", "something that is no URL"],
])("%j is refused, without a word of its secrets", (url, found) => {
  const message = `queue.url is ${found}; expected "embedded", "local-redis", redis://host:port, redis-cluster://host:port,host:port or postgres://user@host/database`;
  expect(() => queueKind(url)).toThrow(expect.objectContaining({ code: "ERR_QUEUE_URL", message }));
});
