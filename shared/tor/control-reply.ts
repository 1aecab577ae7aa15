/**
 * Tor's control protocol, the receiving half: bytes to replies. Pure.
 *
 * | held              | line          | then                                            |
 * |-------------------|---------------|-------------------------------------------------|
 * | no data block     | `250-text`    | keep the line, the reply goes on                |
 * | no data block     | `250+text`    | keep the line, its data block begins            |
 * | no data block     | `250 text`    | keep the line, the reply is complete            |
 * | a data block      | `.`           | the block ends                                  |
 * | a data block      | anything else | belongs to the block; a leading `.` is doubled  |
 *
 * An event is a reply with code 650; events come between replies, never inside one.
 * Source: Tor's control-spec, "Message format".
 */
import { OnionhookError } from "../errors.ts";

export interface ReplyLine {
  /** 250 and the like; 650 for an event; 400 and above for a refusal. */
  readonly code: number;
  readonly text: string;
  /** The lines of a `+` block, joined by `\n`. */
  readonly data?: string;
}

/** At least one line. */
export type Reply = readonly [ReplyLine, ...ReplyLine[]];

export interface ReplyState {
  /** Bytes (as latin1) of a line that is not complete. */
  readonly rest: string;
  readonly lines: readonly ReplyLine[];
  /** The data block being read, if one is. */
  readonly block: readonly string[] | undefined;
}

export const NO_REPLY: ReplyState = { rest: "", lines: [], block: undefined };

/**
 * Takes what was received (decoded as latin1) and gives the replies that are now complete.
 * @throws OnionhookError `ERR_TOR_CONTROL_PROTOCOL` when a line is none of the protocol's
 */
export function readReplies(state: ReplyState, chunk: string): [ReplyState, Reply[]] {
  const pieces = (state.rest + chunk).split("\r\n");
  const rest = pieces.pop() ?? "";
  const replies: Reply[] = [];
  let lines = [...state.lines];
  let block = state.block === undefined ? undefined : [...state.block];
  for (const piece of pieces) {
    if (block !== undefined) {
      if (piece !== ".") {
        block.push(piece.startsWith(".") ? piece.slice(1) : piece);
        continue;
      }
      const owner = lines.pop();
      if (owner !== undefined) lines.push({ ...owner, data: block.join("\n") });
      block = undefined;
      continue;
    }
    const { line, separator } = readLine(piece);
    lines.push(line);
    if (separator === "+") block = [];
    if (separator !== " ") continue;
    const [first, ...others] = lines;
    if (first !== undefined) replies.push([first, ...others]);
    lines = [];
  }
  return [{ rest, lines, block }, replies];
}

function readLine(text: string): { line: ReplyLine; separator: string } {
  const match = /^(\d{3})([-+ ])(.*)$/s.exec(text);
  if (match === null) {
    throw new OnionhookError("ERR_TOR_CONTROL_PROTOCOL", "what answered is not Tor's control port", {
      hint: "Check the address of Tor's ControlPort or ControlSocket.",
    });
  }
  const [, code, separator = " ", rest = ""] = match;
  return { line: { code: Number(code), text: rest }, separator };
}
