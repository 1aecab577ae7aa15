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

/** A reply as tor writes it, line by line; a data block goes with its line. */
function write(reply: Reply): string[] {
  return reply.map(({ code, text, data }, index) => {
    if (data !== undefined)
      return `${code}+${text}\r\n${data.replace(/^\./gm, "..").replaceAll("\n", "\r\n")}\r\n.\r\n`;
    return `${code}${index === reply.length - 1 ? " " : "-"}${text}\r\n`;
  });
}

const text = fc.stringMatching(/^[ -~]{0,20}$/);
const data = fc
  .array(fc.stringMatching(/^[ -~]{0,9}$/), { minLength: 1, maxLength: 4 })
  .map((lines) => lines.join("\n"));

function replyOf(...codes: number[]): fc.Arbitrary<Reply> {
  const code = fc.constantFrom(...codes);
  const line = fc.record({ code, text });
  return fc
    .tuple(fc.array(fc.oneof(line, fc.record({ code, text, data })), { maxLength: 3 }), line)
    .map(([lines, last]): Reply => {
      const [first, ...others] = lines;
      return first === undefined ? [last] : [first, ...others, last];
    });
}

const anAnswer = replyOf(250, 251, 512, 515, 550, 551, 552);
const anEvent = replyOf(650);

function cut(wire: string, cuts: readonly number[]): string[] {
  const chunks: string[] = [];
  let rest = wire;
  for (const at of cuts) {
    chunks.push(rest.slice(0, at));
    rest = rest.slice(at);
  }
  return [...chunks, rest];
}

describe("readReplies", () => {
  const WIRE =
    "250 OK\r\n650 HS_DESC UPLOADED x\r\n250+ns/all=\r\nr one\r\n..\r\n..two\r\n.\r\n250-a=b\r\n250 OK\r\n" +
    "650+HS_DESC_CONTENT a\r\nhs-descriptor 3\r\n.\r\n650 OK\r\n552 Unrecognized key\r\n";
  const REPLIES = [
    [{ code: 250, text: "OK" }],
    [{ code: 650, text: "HS_DESC UPLOADED x" }],
    [
      { code: 250, text: "ns/all=", data: "r one\n.\n.two" },
      { code: 250, text: "a=b" },
      { code: 250, text: "OK" },
    ],
    [
      { code: 650, text: "HS_DESC_CONTENT a", data: "hs-descriptor 3" },
      { code: 650, text: "OK" },
    ],
    [{ code: 552, text: "Unrecognized key" }],
  ];

  it("reads single lines, continuations, data blocks with doubled dots, and events in between", () => {
    expect(readAll([WIRE])).toEqual(REPLIES);
  });

  it("gives the same replies cut in two at any byte, and byte by byte", () => {
    for (let at = 0; at <= WIRE.length; at += 1)
      expect(readAll([WIRE.slice(0, at), WIRE.slice(at)])).toEqual(REPLIES);
    expect(readAll(WIRE.split(""))).toEqual(REPLIES);
  });

  it("reads an empty data block, and a dot that is the block's only line", () => {
    expect(readAll(["250+a=\r\n.\r\n250+b=\r\n..\r\n.\r\n250 OK\r\n"])).toEqual([
      [
        { code: 250, text: "a=", data: "" },
        { code: 250, text: "b=", data: "." },
        { code: 250, text: "OK" },
      ],
    ]);
  });

  it("gives the same replies however the bytes are cut", () => {
    const several = fc.array(fc.oneof(anAnswer, anEvent), { maxLength: 5 });
    fc.assert(
      fc.property(several, fc.array(fc.nat({ max: 40 })), (replies, cuts) => {
        expect(readAll(cut(replies.flatMap(write).join(""), cuts))).toEqual(replies);
      }),
      { numRuns: 1000 },
    );
  });

  it("tells an event from the answer between whose lines it comes", () => {
    const cuts = fc.array(fc.nat({ max: 40 }));
    fc.assert(
      fc.property(anAnswer, anEvent, fc.nat({ max: 3 }), cuts, (answer, event, after, at) => {
        const lines = write(answer);
        const position = Math.min(after, lines.length - 1);
        const wire = [...lines.slice(0, position), ...write(event), ...lines.slice(position)].join("");
        expect(readAll(cut(wire, at))).toEqual([event, answer]);
      }),
      { numRuns: 1000 },
    );
  });

  it.each([
    ["a line", () => "x".repeat(64 * 1024)],
    ["a continuation", () => `250-${"x".repeat(64 * 1024)}\r\n`],
    ["a data block", (round: number) => `${round === 0 ? "250+a=\r\n" : ""}${"x".repeat(64 * 1024)}\r\n`],
    [
      "a data block of empty lines",
      (round: number) => `${round === 0 ? "250+a=\r\n" : ""}${"\r\n".repeat(512 * 1024)}`,
    ],
  ])("refuses %s without end, having held a bounded part of it", (_what, chunk) => {
    let state = NO_REPLY;
    let received = 0;
    const flood = () => {
      for (let round = 0; received < 64 * 1024 * 1024; round += 1) {
        received += chunk(round).length;
        [state] = readReplies(state, chunk(round));
      }
    };
    expect(flood).toThrow(expect.objectContaining({ code: "ERR_TOR_CONTROL_PROTOCOL" }));
  });

  it("reads a long answer of many lines in short time, byte by byte, too", () => {
    const lines = Array.from({ length: 2000 }, (_, index) => `r relay${index}`);
    const wire = `250+ns/all=\r\n${lines.join("\r\n")}\r\n.\r\n250 OK\r\n`;
    expect(readAll(wire.split(""))[0]?.[0].data?.split("\n")).toEqual(lines);
  });

  it.each([
    "HTTP/1.1 400 Bad Request\r\n",
    "SSH-2.0-OpenSSH_9.2\r\n",
    "\r\n",
    "25 OK\r\n",
    "250OK\r\n",
    "250\r\n",
  ])("refuses %j", (wire) => {
    expect(() => readReplies(NO_REPLY, wire)).toThrow(
      expect.objectContaining({ code: "ERR_TOR_CONTROL_PROTOCOL" }),
    );
  });
});
