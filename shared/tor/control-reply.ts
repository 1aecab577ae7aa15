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
 * An event is a reply with code 650. Its lines are kept apart from those of the answer to a command, so that one
 * which comes between the lines of the other spoils neither.
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

/** The code of an event (control-spec, "Asynchronous events"). */
export const EVENT_CODE = 650;

export interface ReplyState {
  /** Bytes (as latin1) of a line that is not complete. */
  readonly rest: string;
  /** Lines of an answer that is not complete, and of an event. */
  readonly answer: readonly ReplyLine[];
  readonly event: readonly ReplyLine[];
  /** The data block being read, if one is: it belongs to `owner`. */
  readonly block: { readonly owner: ReplyLine; readonly lines: readonly string[] } | undefined;
  /** Bytes of the lines that are held, and {@link LINE_COST_BYTES} for each. */
  readonly held: number;
}

export const NO_REPLY: ReplyState = { rest: "", answer: [], event: [], block: undefined, held: 0 };

/** Bytes of a line. The longest that tor writes are exit policies and lists of some 10 KB. */
const MAX_LINE_BYTES = 1024 * 1024;
/** Bytes of the lines of what is not complete. The list of all relays, the longest answer of the public network, has 2 MB. */
const MAX_HELD_BYTES = 32 * 1024 * 1024;
/** Bytes that a line takes here beside its own: one without any takes these, too. */
const LINE_COST_BYTES = 64;

/**
 * Takes what was received (decoded as latin1) and gives the replies that are now complete.
 * @throws OnionhookError `ERR_TOR_CONTROL_PROTOCOL` when a line is none of the protocol's, or there is no end to it
 */
export function readReplies(state: ReplyState, chunk: string): [ReplyState, Reply[]] {
  const text = state.rest + chunk;
  if (!chunk.includes("\n")) return [{ ...state, rest: bounded(text, MAX_LINE_BYTES) }, []];
  const pieces = text.split("\r\n");
  const rest = bounded(pieces.pop() ?? "", MAX_LINE_BYTES);
  const replies: Reply[] = [];
  const lines = { answer: [...state.answer], event: [...state.event] };
  let block = state.block && { owner: state.block.owner, lines: [...state.block.lines] };
  let { held } = state;

  function take(line: ReplyLine, isLast: boolean): void {
    const kind = line.code === EVENT_CODE ? "event" : "answer";
    lines[kind].push(line);
    const [first, ...others] = lines[kind];
    if (!isLast || first === undefined) return;
    replies.push([first, ...others]);
    lines[kind] = [];
  }

  for (const piece of pieces) {
    held += bounded(piece, MAX_LINE_BYTES).length + LINE_COST_BYTES;
    if (held > MAX_HELD_BYTES) throw notControl();
    if (block === undefined) {
      const { line, separator } = readLine(piece);
      if (separator === "+") block = { owner: line, lines: [] };
      else take(line, separator === " ");
    } else if (piece === ".") {
      take({ ...block.owner, data: block.lines.join("\n") }, false);
      block = undefined;
    } else block.lines.push(piece.startsWith(".") ? piece.slice(1) : piece);
    if (block === undefined && lines.answer.length === 0 && lines.event.length === 0) held = 0;
  }
  return [{ rest, ...lines, block, held }, replies];
}

function readLine(text: string): { line: ReplyLine; separator: string } {
  const match = /^(\d{3})([-+ ])(.*)$/s.exec(text);
  if (match === null) throw notControl();
  const [, code, separator = " ", rest = ""] = match;
  return { line: { code: Number(code), text: rest }, separator };
}

function bounded(text: string, most: number): string {
  if (text.length > most) throw notControl();
  return text;
}

function notControl(): OnionhookError {
  return new OnionhookError("ERR_TOR_CONTROL_PROTOCOL", "what answered is not Tor's control port", {
    hint: "Check the address of Tor's ControlPort or ControlSocket.",
  });
}
