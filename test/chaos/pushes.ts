/** What is sent: pushes to several refs of several repositories, a pure function of the seed. */
import { createHash } from "node:crypto";
import { encodeUtf8 } from "../../shared/bytes.ts";
import { makeRandom, type Random } from "./random.ts";

export interface Push {
  /** GitHub's GUID. */
  delivery: string;
  repository: string;
  ref: string;
  /** The commit: another in every push. */
  after: string;
  /** Of the body, about. */
  bytes: number;
}

const REPOSITORIES = ["octo/ledger", "octo/hook", "cat/onion"];
const REFS = ["refs/heads/main", "refs/heads/next", "refs/heads/fix-1", "refs/tags/v1"];

/** Least and most bytes, and how often. */
const SIZES = {
  small: { often: 96, least: 200, most: 8000 },
  medium: { often: 3, least: 100_000, most: 250_000 },
  large: { often: 1, least: 250_000, most: 1_000_000 },
} as const;

/** Pushes in the order of sending; those of a ref of a repository go out one after the other. */
export function planPushes(seed: number, count: number): Push[] {
  const random = makeRandom(seed, "pushes");
  return Array.from({ length: count }, () => ({
    delivery: guid(random),
    repository: random.pick(REPOSITORIES),
    ref: random.pick(REFS),
    after: random.hex(20),
    bytes: bodySize(random),
  }));
}

/** Pushes whose order counts: of one ref of one repository. */
export function laneOf({ repository, ref }: Pick<Push, "repository" | "ref">): string {
  return `${repository} ${ref}`;
}

/** The raw body. */
export function bodyOf({ repository, ref, after, bytes }: Push): Uint8Array {
  const padding = "onion é ".repeat(Math.ceil(bytes / 9));
  return encodeUtf8(JSON.stringify({ ref, after, repository: { full_name: repository }, padding }));
}

/** Hexadecimal, as `sha256sum` prints it. */
export function sha256(body: Uint8Array): string {
  return createHash("sha256").update(body).digest("hex");
}

function bodySize(random: Random): number {
  const { small, medium, large } = SIZES;
  const { least, most } =
    SIZES[random.weighted({ small: small.often, medium: medium.often, large: large.often })];
  return random.int(least, most);
}

function guid(random: Random): string {
  const hex = random.hex(16);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
