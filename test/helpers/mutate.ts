/**
 * Requests that GitHub would not make, each from a seed and a number alone, and an oracle that knows what
 * the edge must answer. The oracle reads a request as the sender wrote it and judges by JSON.parse, strict UTF-8
 * and node:crypto; of the edge's own code it has the table of events and that of refusals.
 *
 * Bodies and headers are texts of one byte a character.
 */
import { createHmac } from "node:crypto";
import { createRequire } from "node:module";
import { shapeFault } from "../../worker/webhook/event-shape.ts";
import type { RefusalCode } from "../../worker/refusal.ts";

export interface MutatedRequest {
  method: string;
  target: string;
  headers: (readonly [name: string, value: string])[];
  body: string;
  /** Sizes of the chunks that the body is sent in; undefined: it is sent whole, with its length. */
  chunks: number[] | undefined;
  /** The mutations, for whoever looks into a failure. */
  how: string[];
}

export interface Acceptance {
  status: 202;
  delivery: string;
  event: string;
  hookId: number | null;
  signature: string;
  /** The JSON as it was sent. */
  payload: string;
  /** The JSON as its receiver gets it. */
  received: string;
  altered: boolean;
}

export type Expected =
  | Acceptance
  | { status: 200 }
  | { status: "refused"; code: RefusalCode; shown: "json" | "text" | "nothing" };

type Random = () => number;

/** sfc32, which is small and good, seeded by splitmix32. */
function randomOf(seed: number, index: number): Random {
  let state = (seed ^ Math.imul(index + 1, 0x9e3779b1)) | 0;
  const next = () => {
    state = (state + 0x9e3779b9) | 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  };
  let [a, b, c, d] = [next(), next(), next(), next()];
  return () => {
    const sum = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return (sum >>> 0) / 2 ** 32;
  };
}

function below(random: Random, end: number): number {
  return Math.floor(random() * end);
}

function pick<Item>(random: Random, items: readonly Item[]): Item {
  const item = items[below(random, items.length)];
  if (item === undefined) throw new Error("nothing to pick from");
  return item;
}

function latin1(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

interface Example {
  event: string;
  body: string;
}

/** GitHub's own examples, as GitHub sends them. */
const EXAMPLES: readonly Example[] = (
  createRequire(import.meta.url)("@octokit/webhooks-examples/api.github.com/index.json") as {
    name: string;
    examples: unknown[];
  }[]
).flatMap(({ name, examples }) =>
  examples.map((example) => ({ event: name, body: latin1(JSON.stringify(example)) })),
);

/** Of an event that GitHub does not have, so that its members may be any. */
const PLAIN: Example = { event: "example", body: '{"ref":"refs/heads/main","n":[1,{"a":"b"},null]}' };

// Bodies that may still be taken.

const NUL = "\\u0000";
/** Members that a parser could stumble over. JSON all of them. */
const ODD_MEMBERS: readonly string[] = [
  '"__proto__":{"repository":1}',
  '"constructor":{"prototype":{"a":1}}',
  '"prototype":null',
  '"toString":1',
  '"toJSON":"x"',
  '"then":"x"',
  '"hasOwnProperty":0',
  '"length":-1',
  '"":0',
  '"_delivery":null',
  '"_delivery":{"v":1,"id":"00000000","seq":1,"altered":false}',
  '"uri":"webhook.github.other","args":[1],"kwargs":{}',
  '"repository":{"full_name":"evil/evil","id":1},"repository":{"full_name":"Evil/Evil","id":2}',
  '"repository":"evil"',
  '"organization":{"login":["evil"]}',
  '"\\u0072epository":{"id":7}',
  `"nul":"${NUL}"`,
  `"nul":"${NUL}AAAA"`,
  `"nul":"${NUL}${NUL}not base64"`,
  `"nul":"inside${NUL}"`,
  `"nul":"\\\\u0000"`,
  `"nul":["${NUL}",{"${NUL}key":"${NUL}value"},"a"]`,
  `"nul" : \n"${NUL}="`,
  `"${NUL}":1`,
  `"nul":"${NUL}first","nul":"second"`,
  '"lone":"\\ud800"',
  '"lone":"\\udc00\\ud800"',
  '"lone":"\\uDBFFx\\uDFFF"',
  '"\\ud83d":"\\ud83d\\ude00"',
  '"escapes":"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9"',
  '"tail":"}"',
  '"tail":"\\\\"',
  '"tail":"\\",\\"_delivery\\":{}}"',
  `"number":${"9".repeat(1000)}`,
  `"number":-${"9".repeat(999)}`,
  `"number":0.${"1".repeat(998)}`,
  `"number":1e${"0".repeat(998)}`,
  '"number":[1e999,-1e999,1e-999,-0,0.0,-0.0E+0,123456789012345678901234567890]',
  '"hook_id":12345',
  '"hook_id":1.0',
  '"hook_id":9007199254740993',
  `"hook_id":${"9".repeat(256)}`,
  `"hook_id":${"9".repeat(257)}`,
  '"hook_id":"12345"',
  '"hook_id":null',
  '"hook_id":-12345',
  `"${"k".repeat(64)}":1`,
  `"${"k".repeat(5000)}":1`,
  latin1('"text":"é ß 漢字 😀 \u2028\u2029\u0085\u00a0 \ufeff \uffff \u{10ffff} \u007f"'),
  latin1('"ключ":"значение"'),
];

function addMember(random: Random, body: string, member: string): string {
  const first = body.indexOf("{");
  const last = body.lastIndexOf("}");
  if (first < 0 || last < first) return body + member;
  if (body.slice(first + 1, last).trim() === "")
    return `${body.slice(0, first + 1)}${member}${body.slice(last)}`;
  if (random() < 0.5) return `${body.slice(0, first + 1)}${member},${body.slice(first + 1)}`;
  return `${body.slice(0, last)},${member}${body.slice(last)}`;
}

type BodyMutation = (random: Random, body: string) => string;

const oddMember: BodyMutation = (random, body) => addMember(random, body, pick(random, ODD_MEMBERS));

/** `levels` brackets in a member, which is one level down itself. */
function nested(random: Random, levels: number): string {
  let [open, close] = ["", ""];
  for (let level = 0; level < levels; level += 1) {
    const object = random() < 0.5;
    open += object ? '{"d":' : "[";
    close = (object ? "}" : "]") + close;
  }
  return `"deep":${open}1${close}`;
}

const KINDLY: Readonly<Record<string, BodyMutation>> = {
  nothing: (_, body) => body,
  "odd member": oddMember,
  "odd members": (random, body) => oddMember(random, oddMember(random, oddMember(random, body))),
  "white space": (random, body) => {
    const space = pick(random, [" ", "\n", "\r\n", "\t", " \t\r\n "]);
    const at = pick(random, [",", ":", "{", "}", "[", "]"]);
    return space + body.replaceAll(`"${at}`, `"${space}${at}`).replaceAll(`${at}"`, `${at}${space}"`) + space;
  },
  "an empty object": (random) => pick(random, ["{}", "{ }", "\n{\r\n}\t", "{\t}"]),
  depth: (random, body) =>
    addMember(random, body, nested(random, pick(random, [1, 30, 200, 254, 255, 256, 257]))),
  "many members": (random, body) =>
    addMember(random, body, Array.from({ length: 300 }, (_, index) => `"k${index}":${index}`).join(",")),
  "a long string": (random, body) =>
    addMember(random, body, `"long":"${"x".repeat(pick(random, [65_000, 65_536, 131_072, 200_000]))}"`),
};

// Bodies that are most likely none.

const ODD_TOKENS: readonly string[] = [
  "NaN",
  "Infinity",
  "-Infinity",
  "undefined",
  "True",
  "None",
  "nul",
  "truee",
  "01",
  "-01",
  "+1",
  ".5",
  "1.",
  "1.e1",
  "1e",
  "1e+",
  "-",
  "0x10",
  "1_000",
  "1n",
  "'a'",
  "`a`",
  '"',
  '"\\',
  '"\\x41"',
  '"\\u12G4"',
  '"\\u123"',
  '"\\u{41}"',
  '"\\0"',
  '"\\\'"',
  '"a\nb"',
  '"a\tb"',
  '"\0"',
  '"\x1f"',
  '"\x7f"',
  "/* */1",
  "// 1",
  "#",
  ",",
  ":",
  "{",
  "}",
  "[",
  "]",
  "[1,]",
  '{"a":1,}',
  '{"a"}',
  "{a:1}",
  "{1:1}",
  "[,]",
  "[1 2]",
  "\x0b",
  "\x0c",
  "\0",
  "\xa0",
  "\xc2\xa0",
  "\xe2\x80\xa8",
  "\xef\xbb\xbf",
];

/** Not UTF-8: overlong, cut short, surrogates, beyond Unicode, and bytes that are in none. */
const ODD_BYTES: readonly string[] = [
  "\x80",
  "\xbf",
  "\xc0\x80",
  "\xc1\xbf",
  "\xc3",
  "\xe0\x80\x80",
  "\xe0\x9f\xbf",
  "\xe2\x82",
  "\xed\xa0\x80",
  "\xed\xa0\xbd\xed\xb8\x80",
  "\xf0\x8f\xbf\xbf",
  "\xf0\x9f\x98",
  "\xf4\x90\x80\x80",
  "\xf8\x88\x80\x80\x80",
  "\xfe",
  "\xff",
  "\xff\xfe",
];

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\]:,]|[^\s{}[\]:,"]+/g;

function alterToken(random: Random, body: string): string {
  const tokens = [...body.matchAll(TOKEN)];
  if (tokens.length === 0) return body;
  const { 0: token, index } = pick(random, tokens);
  const other = pick(random, random() < 0.5 ? ODD_TOKENS : [pick(random, tokens)[0]]);
  const put = pick(random, ["", token + token, other, token + other, other + token]);
  return body.slice(0, index) + put + body.slice(index + token.length);
}

function spliceAt(random: Random, body: string, removed: number, put: string): string {
  const at = below(random, body.length + 1);
  return body.slice(0, at) + put + body.slice(at + removed);
}

const HARSHLY: Readonly<Record<string, BodyMutation>> = {
  "a token": alterToken,
  tokens: (random, body) => alterToken(random, alterToken(random, alterToken(random, body))),
  "a byte": (random, body) => spliceAt(random, body, 1, String.fromCharCode(below(random, 256))),
  "a byte less": (random, body) => spliceAt(random, body, 1, ""),
  "a byte more": (random, body) => spliceAt(random, body, 0, String.fromCharCode(below(random, 256))),
  "bytes that are not UTF-8": (random, body) =>
    spliceAt(random, body, below(random, 2), pick(random, ODD_BYTES)),
  "a string that is not UTF-8": (random, body) => addMember(random, body, `"x":"${pick(random, ODD_BYTES)}"`),
  "an end that is not UTF-8": (random, body) => body + pick(random, ODD_BYTES),
  "an odd value": (random, body) => addMember(random, body, `"x":${pick(random, ODD_TOKENS)}`),
  "a start": (random, body) =>
    pick(random, ["\xef\xbb\xbf", "\0", "\x0b", "\xa0", ")]}',\n", "\xff\xfe", "x"]) + body,
  "an end": (random, body) =>
    body + pick(random, ["}", "]", ",", "\0", "x", "{}", "null", "\x1a", "\xef\xbb\xbf", body]),
  "cut short": (random, body) => body.slice(0, below(random, body.length)),
  "without its start": (random, body) => body.slice(1 + below(random, body.length)),
  "another root": (random, body) =>
    pick(random, [
      "",
      " ",
      "[]",
      `[${body}]`,
      '"a"',
      "1",
      "null",
      "true",
      "\0",
      "{",
      "}",
      `"${body}"`,
      "{}{}",
    ]),
  "UTF-16": (_, body) => Buffer.from(body, "utf16le").toString("latin1"),
  "too deep": (random, body) => addMember(random, body, nested(random, 256 + below(random, 1500))),
  "too long a number": (random, body) => {
    const digits = 1001 + below(random, 4000);
    return addMember(
      random,
      body,
      `"x":${pick(random, ["", "-", "0.", "1e", "-1.5E-"])}${"1".repeat(digits)}`,
    );
  },
  "a member less": (random, body) => {
    const keys = [...body.matchAll(/"(\w{3,30})":/g)].map(([key]) => key);
    return keys.length === 0 ? body : body.replace(pick(random, keys), '"another":');
  },
};

// Headers.

const JSON_TYPES: readonly string[] = [
  "application/json; charset=utf-8",
  "application/json;",
  "APPLICATION/JSON",
  "Application/Json\t;charset=UTF-16",
  "application/json \t",
  "application/json\xc2\xa0",
];
const OTHER_TYPES: readonly string[] = [
  "",
  "text/plain",
  "text/json",
  "application/jsonp",
  "application/json+x",
  "application/json, text/plain",
  "application/json\xa0",
  "application/ json",
  "\xc2\xa0application/json",
  "multipart/form-data; boundary=x",
  "application/vnd.github+json",
  "*/*",
];
const FORM_TYPES: readonly string[] = [
  "application/x-www-form-urlencoded",
  "application/x-www-form-urlencoded; charset=utf-8",
  "Application/X-WWW-Form-Urlencoded",
];

type Headers = Map<string, readonly string[]>;

/** Each is given the right value. */
const SIGNATURES: Readonly<Record<string, (random: Random, right: string) => readonly string[]>> = {
  missing: () => [],
  empty: () => [""],
  doubled: (_, right) => [right, right],
  "a list": (_, right) => [`${right}, ${right}`],
  "a list with another": (_, right) => [`sha1=${"0".repeat(40)}, ${right}`],
  sha1: (_, right) => [`sha1=${right.slice(7, 47)}`],
  "sha1's name": (_, right) => [right.replace("sha256", "sha1")],
  sha512: (_, right) => [`sha512=${right.slice(7)}${right.slice(7)}`],
  "an upper-case prefix": (_, right) => [right.replace("sha256", "SHA256")],
  "upper-case digits": (_, right) => [`sha256=${right.slice(7).toUpperCase()}`],
  bare: (_, right) => [right.slice(7)],
  base64: (_, right) => [`sha256=${Buffer.from(right.slice(7), "hex").toString("base64")}`],
  "white space around": (random, right) => [pick(random, [` ${right}`, `${right} `, `\t${right}\t`])],
  "white space inside": (random, right) => [
    pick(random, [right.replace("=", "= "), right.replace("=", " ="), `"${right}"`]),
  ],
  truncated: (random, right) => [right.slice(0, below(random, right.length))],
  "63 digits": (_, right) => [right.slice(0, -1)],
  "65 digits": (_, right) => [`${right}0`],
  "a digit that is none": (random, right) => [
    `${right.slice(0, -1)}${pick(random, ["g", "\xff", "-", "\xef\xbc\x90"])}`,
  ],
  "a digit changed": (random, right) => {
    const at = 7 + below(random, 64);
    return [`${right.slice(0, at)}${right[at] === "0" ? "1" : "0"}${right.slice(at + 1)}`];
  },
  "all zero": () => [`sha256=${"0".repeat(64)}`],
};

const ODD_HEADERS: Readonly<Record<string, readonly (readonly string[])[]>> = {
  "X-GitHub-Delivery": [
    [],
    [""],
    ["1234567"],
    ["12345678"],
    ["a".repeat(64)],
    ["a".repeat(65)],
    ["72d3162e_cc78_11e3"],
    ["72d3162e cc78 11e3"],
    ["72d3162e-cc78-11e3-81ab-4c9367dc0958\xe9"],
    ["{72d3162e-cc78-11e3-81ab-4c9367dc0958}"],
    ["../../../etc/passwd"],
    ["a".repeat(5000)],
    ["72d3162e-cc78-11e3", "72d3162e-cc78-11e3"],
  ],
  "X-GitHub-Event": [
    [],
    [""],
    ["push"],
    ["PUSH"],
    ["ping"],
    ["issues"],
    ["pull_request"],
    ["watch"],
    ["e".repeat(100)],
    ["e".repeat(101)],
    ["1push"],
    ["_push"],
    ["push.other"],
    ["push-other"],
    ["push other"],
    ["webhook.github.push"],
    ["__proto__"],
    ["constructor"],
    ["toString"],
    ["hasOwnProperty"],
    ["\xe9v\xe9nement"],
    ["\xc3\xa9v"],
    ["push\xe2\x84\xaa"],
    ["push", "push"],
  ],
  "X-GitHub-Hook-ID": [
    [],
    [""],
    ["0"],
    ["12345"],
    ["0012345"],
    ["9".repeat(15)],
    ["9".repeat(16)],
    ["-12345"],
    ["12345.0"],
    ["1e4"],
    ["0x10"],
    ["12 345"],
    ["\xd9\xa3"],
    ["NaN"],
    ["12345", "12345"],
  ],
  "Content-Type": [
    [],
    ...[...JSON_TYPES, ...OTHER_TYPES, ...FORM_TYPES].map((type) => [type]),
    ["text/plain", "application/json"],
    ["application/json", "application/json"],
  ],
};

/** What must not matter. */
const FURTHER_HEADERS: readonly (readonly [string, string])[] = [
  ["Content-Encoding", "gzip"],
  ["Content-Encoding", "br, identity"],
  ["Accept-Encoding", "gzip, br"],
  ["Accept", "text/html"],
  ["X-Hub-Signature", `sha1=${"0".repeat(40)}`],
  ["X-HTTP-Method-Override", "GET"],
  ["X-Forwarded-For", "127.0.0.1, ::1"],
  ["X-Forwarded-Proto", "javascript"],
  ["CF-Connecting-IP", "\xff\xfe"],
  ["CF-Worker", "example.com"],
  ["Cookie", "a=b; ".repeat(500)],
  ["Authorization", "Basic AAAA"],
  ["Origin", "null"],
  ["Range", "bytes=0-0"],
  ["If-None-Match", "*"],
  ["Upgrade", "websocket"],
  ["TE", "trailers"],
  ["X-Long", "x".repeat(20_000)],
  ["__proto__", "x"],
  ["constructor", "x"],
  ["X-Empty", ""],
];

/** Paths, and what is there. */
const TARGETS: readonly (readonly [string, Place])[] = [
  ["/webhook/github?x=1&y=%ff", "webhook"],
  ["/%77ebhook/git%68ub", "webhook"],
  ["/webhook/github/", "webhook"],
  ["http://example.com/webhook/github", "webhook"],
  ["/", "nothing"],
  ["/webhook", "nothing"],
  ["/webhook/", "nothing"],
  ["/webhook/gitlab", "nothing"],
  ["/webhook//github", "nothing"],
  ["//webhook/github", "nothing"],
  ["/webhook%2fgithub", "nothing"],
  ["/x/../webhook/github", "nothing"],
  ["/WEBHOOK/GITHUB", "nothing"],
  ["/webhook/github%00", "nothing"],
  ["/webhook/github%", "nothing"],
  ["/webhook/github;x", "nothing"],
  ["/webhook/github/x", "nothing"],
  [`/${"a".repeat(5000)}`, "nothing"],
  ["/favicon.ico", "nothing"],
  ["/.git/config", "nothing"],
  ["/__proto__", "nothing"],
  ["/health", "health"],
  ["/health?x", "health"],
  ["/drain", "drain"],
  ["/drain?stream=builder", "drain"],
];
type Place = "webhook" | "nothing" | "health" | "drain";
const WEBHOOK_TARGET = "/webhook/github";
const PLACES: ReadonlyMap<string, Place> = new Map([[WEBHOOK_TARGET, "webhook"], ...TARGETS]);

const METHODS: readonly string[] = [
  "GET",
  "HEAD",
  "PUT",
  "PATCH",
  "DELETE",
  "OPTIONS",
  "TRACE",
  "PROPFIND",
  "SEARCH",
];

// Forms.

const FORMS: Readonly<Record<string, BodyMutation>> = {
  "as URLSearchParams": (_, body) => `payload=${encode(body, /[\w*.-]/).replaceAll("%20", "+")}`,
  "hardly escaped": (_, body) => `payload=${encode(body, /[^%&+]/)}`,
  "all escaped": (_, body) => `payload=${encode(body.slice(0, 3000), /(?!)/)}`,
};
const ODD_FORMS: Readonly<Record<string, BodyMutation>> = {
  "a second field": (_, form) => `${form}&a=b`,
  "a field before": (_, form) => `a=b&${form}`,
  "twice the field": (_, form) => `${form}&${form}`,
  "an end": (random, form) =>
    form + pick(random, ["&", "%", "%4", "%zz", "%%", "+", "=", "\0", "\xff", "%FF", "%00"]),
  "another field": (random, form) =>
    pick(random, ["Payload=", "payload", "%70ayload=", "=", "payload[]="]) + form.slice(8),
  "a byte": (random, form) => spliceAt(random, form, 1, String.fromCharCode(below(random, 256))),
  "cut short": (random, form) => form.slice(0, below(random, form.length)),
  "no form": (_, form) => decodeURIComponent(form.slice(8).replaceAll(/%[89a-f]./gi, "")),
};

function encode(body: string, plain: RegExp): string {
  const of = Array.from({ length: 256 }, (_, code) => {
    const character = String.fromCharCode(code);
    return plain.test(character) ? character : `%${code.toString(16).toUpperCase().padStart(2, "0")}`;
  });
  let encoded = "";
  for (let at = 0; at < body.length; at += 1) encoded += of[body.charCodeAt(at)];
  return encoded;
}

function hmac(secret: string, body: string): string {
  return `sha256=${createHmac("sha256", secret).update(body, "latin1").digest("hex")}`;
}

/** One of many, by its name. */
function apply<Given, Made>(
  random: Random,
  mutations: Readonly<Record<string, (random: Random, given: Given) => Made>>,
  given: Given,
  how: string[],
): Made {
  const [name, mutation] = pick(random, Object.entries(mutations));
  how.push(name);
  return mutation(random, given);
}

/**
 * The request number `index` of a seed. Five sixths are not signed as they should be; of the others most are
 * faulty in another way, so that about one in twenty is to be taken.
 */
export function mutatedRequest(seed: number, index: number, secret: string): MutatedRequest {
  const random = randomOf(seed, index);
  const how: string[] = [];
  const { event, body: example } = random() < 0.4 ? pick(random, EXAMPLES) : PLAIN;
  // Mostly of its own body, since the same body again is a duplicate.
  let body = random() < 0.97 ? `{"nonce":"${index}",${example.slice(1)}` : example;

  const fate = random();
  const isSigned = fate < 0.165;
  const isKind = fate < 0.01;
  if (isKind || random() < 0.03) body = apply(random, KINDLY, body, how);
  else if (fate < 0.14) body = apply(random, HARSHLY, body, how);

  let type = "application/json";
  if (random() < 0.12) {
    type = pick(random, FORM_TYPES);
    body = apply(random, FORMS, body, how);
    if (!isKind && random() < 0.4) body = apply(random, ODD_FORMS, body, how);
  }

  const headers: Headers = new Map([
    ["Host", ["edge.example"]],
    ["User-Agent", ["GitHub-Hookshot/044aadd"]],
    ["Content-Type", [type]],
    ["X-GitHub-Delivery", [`${index.toString(16).padStart(8, "0")}-cc78-11e3-81ab-4c9367dc0958`]],
    ["X-GitHub-Event", [event]],
    ["X-GitHub-Hook-ID", ["12345"]],
    ["X-Hub-Signature-256", [hmac(secret, body)]],
  ]);
  // A ping tells its hook's number.
  if (event === "ping" || random() < 0.1) headers.delete("X-GitHub-Hook-ID");

  if (!isSigned) body = missign(random, body, secret, headers, how);
  else if (!isKind && fate >= 0.14) alterHeaders(random, headers, how);

  const further = random() < 0.3 ? [pick(random, FURTHER_HEADERS)] : [];
  const isElsewhere = random() < 0.06;
  const target = isElsewhere ? pick(random, TARGETS)[0] : WEBHOOK_TARGET;
  const method = random() < (isElsewhere ? 0.5 : 0.02) ? pick(random, METHODS) : "POST";
  return {
    method,
    target,
    headers: [...headers]
      .flatMap(([name, values]) => values.map((value) => [name, value] as const))
      .concat(further),
    body,
    chunks: random() < 0.15 ? chunkSizes(random, body.length) : undefined,
    how,
  };
}

/** Anything but the right signature of the body. */
function missign(random: Random, body: string, secret: string, headers: Headers, how: string[]): string {
  const sign = (value: string) => headers.set("X-Hub-Signature-256", [value]);
  const right = hmac(secret, body);
  const way = random();
  if (way < 0.4) {
    how.push("altered after it was signed");
    const flip = below(random, Math.max(1, body.length));
    const flipped = String.fromCharCode(((body.charCodeAt(flip) || 0) ^ (1 << below(random, 8))) & 0xff);
    return pick(random, [
      body.slice(0, flip) + flipped + body.slice(flip + 1),
      body.slice(0, flip) + body.slice(flip + 1),
      body.slice(0, flip) + flipped + body.slice(flip),
      `${body} `,
      `\n${body}`,
      body.slice(0, -1),
      body + body,
      "",
    ]);
  }
  if (way < 0.6) {
    const another = pick(random, [
      "",
      `${secret} `,
      secret.toLowerCase(),
      secret.slice(0, -1),
      `${secret}\n`,
      "another",
    ]);
    how.push(`signed with ${JSON.stringify(another)}`);
    sign(hmac(another, body));
  } else if (way < 0.7) {
    how.push("signed another body");
    sign(hmac(secret, pick(random, ["", `${body}\n`, body.trim().slice(1), "{}"])));
  } else if (way < 0.75) {
    how.push("signed with another digest");
    sign(`sha256=${createHmac("sha512", secret).update(body, "latin1").digest("hex").slice(0, 64)}`);
  } else headers.set("X-Hub-Signature-256", apply(random, SIGNATURES, right, how));
  if (random() < 0.1) alterHeaders(random, headers, how);
  return body;
}

function alterHeaders(random: Random, headers: Headers, how: string[]): void {
  if (random() < 0.25) {
    how.push("another event");
    return void headers.set("X-GitHub-Event", [pick(random, EXAMPLES).event]);
  }
  const [name, values] = pick(random, Object.entries(ODD_HEADERS));
  how.push(name);
  headers.set(name, pick(random, values));
}

function chunkSizes(random: Random, length: number): number[] {
  const sizes: number[] = [];
  const largest = pick(random, [1, 7, 100, 4096, 65_536]);
  for (let left = length; left > 0;) {
    // So that no body comes in thousands of chunks.
    const size = sizes.length > 50 ? left : Math.min(left, 1 + below(random, largest));
    sizes.push(size);
    left -= size;
  }
  return sizes;
}

/** The request on the wire. */
export function wireOf({ method, target, headers, body, chunks }: MutatedRequest): Buffer {
  const framing = chunks ? "Transfer-Encoding: chunked" : `Content-Length: ${body.length}`;
  const lines = [...headers.map(([name, value]) => `${name}: ${value}`), framing];
  const head = `${method} ${target} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`;
  if (!chunks) return Buffer.from(head + body, "latin1");
  let at = 0;
  const pieces = chunks.map((size) => {
    const piece = `${size.toString(16)}\r\n${body.slice(at, at + size)}\r\n`;
    at += size;
    return piece;
  });
  return Buffer.from(`${head}${pieces.join("")}0\r\n\r\n`, "latin1");
}

// The oracle.

/** What the edge must answer; see docs/protocol.md §1 for the order. */
export function expectedAnswer(request: MutatedRequest, secret: string): Expected {
  const place = PLACES.get(request.target) ?? "nothing";
  const shown = request.method === "HEAD" ? "nothing" : "json";
  const refused = (code: RefusalCode): Expected => ({ status: "refused", code, shown });
  const isGet = request.method === "GET" || request.method === "HEAD";
  if (place === "health" && isGet) return { status: 200 };
  if (place === "drain" && isGet) return refused("ERR_UPGRADE");
  if (place !== "webhook") return refused("ERR_NOT_FOUND");
  if (request.method !== "POST") {
    const isBrowser = headerOf(request, "accept")?.includes("text/html") ?? false;
    return { status: "refused", code: "ERR_METHOD", shown: isBrowser && shown === "json" ? "text" : shown };
  }
  return expectedOfPost(request, secret, refused);
}

function expectedOfPost(
  request: MutatedRequest,
  secret: string,
  refused: (code: RefusalCode) => Expected,
): Expected {
  const type = (headerOf(request, "content-type") ?? "").split(";")[0]?.trimEnd().toLowerCase();
  const isForm = type === "application/x-www-form-urlencoded";
  if (type !== "application/json" && !isForm) return refused("ERR_CONTENT_TYPE");
  const delivery = headerOf(request, "x-github-delivery") ?? "";
  const event = headerOf(request, "x-github-event") ?? "";
  const signature = headerOf(request, "x-hub-signature-256") ?? "";
  const hook = headerOf(request, "x-github-hook-id");
  const isWellFormed =
    /^[a-z0-9-]{8,64}$/i.test(delivery) &&
    /^[a-z][a-z0-9_]{0,99}$/i.test(event) &&
    /^sha256=[0-9a-fA-F]{64}$/.test(signature) &&
    (hook === undefined || /^[0-9]{1,15}$/.test(hook));
  if (!isWellFormed) return refused("ERR_HEADER");
  if (signature.toLowerCase() !== hmac(secret, request.body)) return refused("ERR_SIGNATURE");
  const payload = isForm ? payloadOf(request.body) : request.body;
  const parsed = payload === undefined ? undefined : parseBody(payload);
  if (payload === undefined || parsed === undefined) return refused("ERR_BODY");
  if (shapeFault(event.toLowerCase(), parsed.keys) !== undefined) return refused("ERR_DISAGREE");
  // What is signed counts before what is not.
  const hookId = parsed.hookId ?? (hook === undefined ? null : Number(hook));
  const received = payload.replaceAll(STRING, replaceNul);
  const altered = isForm || received !== payload;
  return { status: 202, delivery, event: event.toLowerCase(), hookId, signature, payload, received, altered };
}

/** As a server joins a doubled header. */
function headerOf({ headers }: MutatedRequest, wanted: string): string | undefined {
  const values = headers.filter(([name]) => name.toLowerCase() === wanted);
  if (values.length === 0) return undefined;
  const joined = values.map(([, value]) => value.replaceAll(/^[ \t]+|[ \t]+$/g, "")).join(", ");
  return Buffer.from(joined, "latin1").toString("utf8");
}

function payloadOf(form: string): string | undefined {
  const field = /^payload=((?:[^%&]|%[0-9a-fA-F]{2})+)$/s.exec(form)?.[1];
  return field
    ?.replaceAll("+", " ")
    .replaceAll(/%(..)/gs, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** Each string, and the colon after it if it is a key. */
const STRING = /"(?:[^"\\]|\\.)*"(\s*:)?/gs;

function replaceNul(string: string, colon: string | undefined): string {
  return colon === undefined && string.startsWith('"\\u0000') ? `"\\uFFFD${string.slice(7)}` : string;
}

const MAX_LEVELS = 256;
const TOO_LONG_NUMBER = /[-+.\deE]{1001}/;
/** Names that the edge notes of a body's members. */
const MAX_KEYS = 256;

/** What the edge must find in a JSON that it takes; undefined when it must not take it. */
function parseBody(payload: string): { keys: ReadonlySet<string>; hookId: number | undefined } | undefined {
  const hookIds = new Map<object, string>();
  /** The third argument is of ECMAScript 2026: the text of a number. */
  function note(this: unknown, key: string, value: unknown, ...[context]: unknown[]): unknown {
    if (key === "hook_id" && typeof value === "number")
      hookIds.set(this as object, (context as { source: string }).source);
    return value;
  }
  let parsed: unknown;
  try {
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    const text = decoder.decode(Buffer.from(payload, "latin1"));
    parsed = text.includes("hook_id") ? JSON.parse(text, note) : JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) return undefined;
  const bare = payload.replaceAll(STRING, " ");
  if (levelsOf(bare) > MAX_LEVELS || TOO_LONG_NUMBER.test(bare)) return undefined;
  const hookId = hookIds.get(parsed);
  return {
    keys: new Set(Object.keys(parsed).slice(0, MAX_KEYS)),
    hookId: hookId !== undefined && /^\d{1,256}$/.test(hookId) ? Number(hookId) : undefined,
  };
}

function levelsOf(bare: string): number {
  let [level, most] = [0, 0];
  for (const [bracket] of bare.matchAll(/[{}[\]]/g)) {
    level += bracket === "{" || bracket === "[" ? 1 : -1;
    most = Math.max(most, level);
  }
  return most;
}
