import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { NO_REPLY, readReplies, type Reply } from "../../../shared/tor/control-reply.ts";

function readAll(chunks: string[]): Reply[] {
  let state = NO_REPLY;
  const replies: Reply[] = [];
  for (const chunk of chunks) {
    const [next, found] = readReplies(state, chunk);
    state = next;
    replies.push(...found);
  }
  return replies;
}

/** A reply as tor writes it. */
function write(reply: Reply): string {
  return reply
    .map(({ code, text, data }, index) => {
      if (data !== undefined)
        return `${code}+${text}\r\n${data.replace(/^\./gm, "..").replaceAll("\n", "\r\n")}\r\n.\r\n`;
      return `${code}${index === reply.length - 1 ? " " : "-"}${text}\r\n`;
    })
    .join("");
}

const text = fc.stringMatching(/^[ -~]{0,20}$/);
const line = fc.record({ code: fc.constantFrom(250, 251, 512, 550, 650), text });
const block = fc.record({
  code: fc.constant(250),
  text,
  data: fc
    .array(fc.stringMatching(/^[ -~]{0,9}$/), { minLength: 1, maxLength: 4 })
    .map((lines) => lines.join("\n")),
});
const anyReply = fc
  .tuple(fc.array(fc.oneof(line, block), { maxLength: 3 }), line)
  .map(([lines, last]): Reply => {
    const [first, ...others] = lines;
    return first === undefined ? [last] : [first, ...others, last];
  });

describe("readReplies", () => {
  it("reads single lines, continuations, data blocks with doubled dots, and events in between", () => {
    const wire =
      "250 OK\r\n650 HS_DESC UPLOADED x\r\n250+ns/all=\r\nr one\r\n..\r\n..two\r\n.\r\n250-a=b\r\n250 OK\r\n";
    expect(readAll([wire])).toEqual([
      [{ code: 250, text: "OK" }],
      [{ code: 650, text: "HS_DESC UPLOADED x" }],
      [
        { code: 250, text: "ns/all=", data: "r one\n.\n.two" },
        { code: 250, text: "a=b" },
        { code: 250, text: "OK" },
      ],
    ]);
  });

  it("gives the same replies however the bytes are cut", () => {
    fc.assert(
      fc.property(fc.array(anyReply, { maxLength: 5 }), fc.array(fc.nat({ max: 40 })), (replies, cuts) => {
        const wire = replies.map(write).join("");
        const chunks: string[] = [];
        let rest = wire;
        for (const cut of cuts) {
          chunks.push(rest.slice(0, cut));
          rest = rest.slice(cut);
        }
        expect(readAll([...chunks, rest])).toEqual(replies);
      }),
      { numRuns: 1000 },
    );
  });

  it.each(["HTTP/1.1 400 Bad Request\r\n", "\r\n", "25 OK\r\n", "250OK\r\n"])("refuses %j", (wire) => {
    expect(() => readReplies(NO_REPLY, wire)).toThrow(
      expect.objectContaining({ code: "ERR_TOR_CONTROL_PROTOCOL" }),
    );
  });
});
