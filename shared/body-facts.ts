/**
 * What a webhook's body says of itself, picked up while {@link scanBody} goes over it: the names of its
 * members, and where it comes from.
 *
 * Of two members of one name the last one counts, and the first is forgotten with all that is in it, as
 * JSON.parse and Python have it. JSON.parse itself would build the whole body in memory, and V8's takes
 * some keys with backslashes for others: https://github.com/nodejs/node/issues/63785.
 */
import { decodeUtf8, encodeUtf8 } from "./bytes.ts";

/** A value that is missing, of another type or over 256 bytes is `undefined`. */
export interface BodyFacts {
  /** Names of the body's own members: of the first 256, and of at most 64 bytes each. */
  keys: ReadonlySet<string>;
  /** `repository.full_name` */
  repository: string | undefined;
  /** `repository.id`, the digits as they are written. */
  repositoryId: string | undefined;
  /** `repository.owner.login`; without one `repository.owner.name`, as in older pushes. */
  owner: string | undefined;
  /** `organization.login` */
  organization: string | undefined;
  /** `hook_id`, the digits as they are written. */
  hookId: string | undefined;
}

/** GitHub's bodies have under 20 members, and no name of over 30 bytes. */
const MAX_KEYS = 256;
const MAX_KEY_BYTES = 64;
/** An account's name has at most 39 characters, a repository's 100. */
const MAX_VALUE_BYTES = 256;
/** `\u0061` is one byte. */
const LONGEST_ESCAPE = 6;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Is told of a body's brackets, keys and values in their order; `from` and `end` as in `body.subarray`. */
export interface FactsGatherer {
  /** A bracket opened, and `depth` brackets are open now. */
  open(depth: number): void;
  /** A key with its quotes, `depth` brackets deep. */
  key(depth: number, from: number, end: number): void;
  /** A string with its quotes, a number or a literal, `depth` brackets deep. */
  value(depth: number, from: number, end: number): void;
  /** What was gathered, once the body has ended. */
  facts(): BodyFacts;
}

/** A member that is looked for. Its value is kept as offsets: of a million members of one name one is read. */
interface Wanted {
  name: string;
  members: readonly Wanted[];
  from: number;
  end: number;
}

export function gatherFacts(body: Uint8Array): FactsGatherer {
  const keys = new Set<string>();
  let keysSeen = 0;
  const fullName = wanted("full_name");
  const id = wanted("id");
  const login = wanted("login");
  const name = wanted("name");
  const repository = wanted("repository", [fullName, id, wanted("owner", [login, name])]);
  const organizationLogin = wanted("login");
  const hookId = wanted("hook_id");
  const root = wanted("", [repository, wanted("organization", [organizationLogin]), hookId]);
  /** By depth: the member that the scan is in, if it is a wanted one. */
  const path: (Wanted | undefined)[] = [root];

  const text = ({ from, end }: Wanted) =>
    body[from] === QUOTE ? stringText(body, from, end, MAX_VALUE_BYTES) : undefined;
  const digits = ({ from, end }: Wanted) => {
    if (end - from > MAX_VALUE_BYTES) return undefined;
    const value = decodeUtf8(body.subarray(from, end));
    return /^\d+$/.test(value) ? value : undefined;
  };

  return {
    open(depth) {
      path[depth] = undefined;
    },
    key(depth, from, end) {
      if (depth === 1 && keysSeen < MAX_KEYS) {
        keysSeen += 1;
        const key = stringText(body, from, end, MAX_KEY_BYTES);
        if (key !== undefined) keys.add(key);
      }
      const member = memberNamed(path[depth - 1]?.members, body, from, end);
      if (member) forget(member);
      path[depth] = member;
    },
    value(depth, from, end) {
      const member = path[depth];
      if (!member) return;
      member.from = from;
      member.end = end;
    },
    facts: () => ({
      keys,
      repository: text(fullName),
      repositoryId: digits(id),
      owner: text(login) ?? text(name),
      organization: text(organizationLogin),
      hookId: digits(hookId),
    }),
  };
}

function wanted(name: string, members: readonly Wanted[] = []): Wanted {
  return { name, members, from: 0, end: 0 };
}

function forget(member: Wanted): void {
  member.end = member.from = 0;
  for (const inner of member.members) forget(inner);
}

function memberNamed(
  members: readonly Wanted[] | undefined,
  body: Uint8Array,
  from: number,
  end: number,
): Wanted | undefined {
  if (members) for (const member of members) if (says(body, from, end, member.name)) return member;
  return undefined;
}

/**
 * Whether the JSON string at `from` says `name`, in which are only letters of ASCII and `_`: of the
 * escapes just `\uXXXX` can stand for one of those. Nothing is decoded, as a body may have millions of keys.
 */
function says(body: Uint8Array, from: number, end: number, name: string): boolean {
  let at = from + 1;
  for (let index = 0; index < name.length; index += 1) {
    let code = body[at];
    at += 1;
    if (code === BACKSLASH) {
      if (body[at] !== 0x75) return false;
      code = 0;
      for (let digit = 1; digit <= 4; digit += 1) code = code * 16 + hexValue(body[at + digit]);
      at += 5;
    }
    if (code !== name.charCodeAt(index)) return false;
  }
  return at === end - 1;
}

function hexValue(digit = 0): number {
  return digit <= 0x39 ? digit - 0x30 : (digit | 0x20) - 0x57;
}

/** What the JSON string at `from` says, or `undefined` when that is over `maxBytes` in UTF-8. */
function stringText(body: Uint8Array, from: number, end: number, maxBytes: number): string | undefined {
  if (end - from > maxBytes * LONGEST_ESCAPE + 2) return undefined;
  const literal = decodeUtf8(body.subarray(from, end));
  const text = literal.includes("\\") ? String(JSON.parse(literal)) : literal.slice(1, -1);
  return encodeUtf8(text).length <= maxBytes ? text : undefined;
}
