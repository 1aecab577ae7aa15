import { describe, expect, it, test } from "vitest";
import { encodeUtf8 } from "../../../shared/bytes.ts";
import { verifySignature } from "../../../worker/webhook/signature.ts";

// https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
const SECRET = "It's a Secret to Everybody";
const HMAC = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
const body = encodeUtf8("Hello, World!");

describe("GitHub's published signature", () => {
  it("is verified", async () => {
    expect(await verifySignature(SECRET, body, `sha256=${HMAC}`)).toBe(true);
  });

  it("is verified in upper case, too", async () => {
    expect(await verifySignature(SECRET, body, `sha256=${HMAC.toUpperCase()}`)).toBe(true);
  });

  it("fails when any single bit of it is flipped", async () => {
    for (let digit = 0; digit < HMAC.length; digit += 1) {
      for (const bit of [1, 2, 4, 8]) {
        const flipped = (Number.parseInt(HMAC.charAt(digit), 16) ^ bit).toString(16);
        const signature = `sha256=${HMAC.slice(0, digit)}${flipped}${HMAC.slice(digit + 1)}`;
        expect(await verifySignature(SECRET, body, signature), signature).toBe(false);
      }
    }
  });

  test.for([
    { name: "another body", secret: SECRET, text: "Hello, World?" },
    { name: "a body with a line's end", secret: SECRET, text: "Hello, World!\n" },
    { name: "no body", secret: SECRET, text: "" },
    { name: "another secret", secret: "It's a secret to everybody", text: "Hello, World!" },
  ])("fails with $name", async ({ secret, text }) => {
    expect(await verifySignature(secret, encodeUtf8(text), `sha256=${HMAC}`)).toBe(false);
  });

  test.for([
    "",
    HMAC,
    `sha256=`,
    `sha1=${HMAC}`,
    `sha256=${HMAC.slice(1)}`,
    `sha256=${HMAC}0`,
    ` sha256=${HMAC}`,
    `sha256=${HMAC}\n`,
    `sha256=${HMAC},sha256=${HMAC}`,
    `sha256=0x${HMAC.slice(2)}`,
  ])("fails, and does not throw, in another form: %j", async (signature) => {
    expect(await verifySignature(SECRET, body, signature)).toBe(false);
  });
});
