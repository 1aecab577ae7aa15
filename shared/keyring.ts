/**
 * Which keys seal and open what: by URI, as Autobahn|Python's KeyRing has it, but exact ones as well. Normative:
 * docs/cryptobox.md §5. Unlike there, no key is an error, and never plain text.
 */
import { OnionhookError } from "./errors.ts";
import { KEY_BYTES } from "./keys.ts";

/**
 * Who began. The originator publishes or calls, and opens the result or error of its call; the responder opens events and
 * invocations, and seals results and errors.
 */
export type Role = "originator" | "responder";

export interface KeyringEntry {
  readonly uri: string;
  /** `prefix`: every URI that begins with these characters, as Autobahn and WAMP have it. */
  readonly match: "exact" | "prefix";
  /**
   * Shared with the other side (`shared-key.ts`). Several while one is being changed, the current one first: it seals, and
   * each opens. Left out: in this role nothing is sealed or opened here.
   */
  readonly originator?: readonly Uint8Array[];
  readonly responder?: readonly Uint8Array[];
}

export interface Keyring {
  /** Whether anything can be sealed and opened in this role under this URI. */
  has(role: Role, uri: string): boolean;
  /**
   * Those of the entry that fits best, the one that seals first.
   * @throws OnionhookError `ERR_NO_KEY`
   */
  keysFor(role: Role, uri: string): readonly [Uint8Array, ...Uint8Array[]];
}

/** @throws RangeError when two entries are for the same, or a key is not of 32 bytes. */
export function makeKeyring(entries: readonly KeyringEntry[]): Keyring {
  const exact = new Map<string, KeyringEntry>();
  const prefixes = new Map<string, KeyringEntry>();
  for (const entry of entries) {
    const { uri, match, originator = [], responder = [] } = entry;
    const found = match === "exact" ? exact : prefixes;
    if (found.has(uri)) throw new RangeError("two entries of a keyring are for the same URI");
    if ([...originator, ...responder].some((key) => key.length !== KEY_BYTES))
      throw new RangeError(`a shared key has ${KEY_BYTES} bytes`);
    found.set(uri, entry);
  }
  const longestFirst = [...prefixes.values()].toSorted((a, b) => b.uri.length - a.uri.length);

  // The best entry decides, even if it has no key for this role: a shorter one is for something else.
  const bestFor = (uri: string) => exact.get(uri) ?? longestFirst.find((entry) => uri.startsWith(entry.uri));

  return {
    has: (role, uri) => (bestFor(uri)?.[role] ?? []).length > 0,
    keysFor(role, uri) {
      const [first, ...others] = bestFor(uri)?.[role] ?? [];
      if (!first)
        throw new OnionhookError("ERR_NO_KEY", `the keyring has no key for this URI as ${role}`, {
          hint: "nothing is sent or taken in plain text here: add a key for the URI, or a prefix of it",
        });
      return [first, ...others];
    },
  };
}
