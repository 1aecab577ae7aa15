import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import nacl from "tweetnacl";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readKeyFile, readSecretFile, writeSecretFile } from "../../../shared/host/key-file.ts";
import { formatKey } from "../../../shared/keys.ts";

const code = (wanted: string) => expect.objectContaining({ code: wanted });

describe("key files", () => {
  let folder: string;
  let path: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "oh-keys-"));
    path = join(folder, "some.key");
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it("are for their owner from the first moment, whatever the umask", () => {
    const before = process.umask(0);
    writeSecretFile(path, "secret");
    process.umask(before);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readSecretFile(path)).toBe("secret");
  });

  it("are never overwritten", () => {
    writeSecretFile(path, "first");
    expect(() => writeSecretFile(path, "second")).toThrow(code("ERR_KEY_FILE"));
    expect(readFileSync(path, "utf8")).toBe("first\n");
  });

  it.each([0o640, 0o604, 0o644, 0o660])("are refused when others may read or write them (%o)", (mode) => {
    writeSecretFile(path, "secret");
    chmodSync(path, mode);
    expect(() => readSecretFile(path)).toThrow(`${path} can be read by others`);
  });

  it("must hold a secret key of the kind that is wanted, and errors never repeat what they hold", () => {
    const text = formatKey("sign", "secret", nacl.randomBytes(32));
    writeFileSync(path, text, { mode: 0o600 });
    expect(readKeyFile(path, "sign")).toHaveLength(32);
    let message = "";
    try {
      readKeyFile(path, "box");
    } catch (error) {
      message = String(error);
    }
    expect(message).toContain(`${path} holds a secret key of kind sign`);
    expect(message).not.toContain(text.slice(-20));
  });

  it("are named when they are missing", () => {
    expect(() => readSecretFile(path)).toThrow(`${path} cannot be read (ENOENT)`);
    expect(() => readKeyFile(path, "box", "box_key_file")).toThrow(`box_key_file: ${path} cannot be read`);
  });

  it("of another user are to be handed over, not made again", () => {
    writeSecretFile(path, "secret");
    chmodSync(path, 0);
    const [before, nobody] = [process.geteuid?.(), 65_534];
    if (before === 0) process.seteuid?.(nobody);
    try {
      expect(() => readSecretFile(path)).toThrow(
        expect.objectContaining({
          message: `${path} cannot be read (EACCES)`,
          hint: expect.stringContaining(`runs as user ${process.geteuid?.()}: chown`),
        }),
      );
    } finally {
      if (before === 0) process.seteuid?.(before);
    }
  });

  it("with a key of ours are no webhook's secret, and errors do not repeat it", () => {
    const text = formatKey("box", "secret", nacl.randomBytes(32));
    writeSecretFile(path, text);
    const read = () => readSecretFile(path, "webhook_secret_file");
    expect(read).toThrow(`webhook_secret_file: ${path} holds a key of ours`);
    expect(read).not.toThrow(text.slice(-20));
  });

  it("are not written into a folder that is not there", () => {
    expect(() => writeSecretFile(join(folder, "missing", "some.key"), "secret")).toThrow(
      expect.objectContaining({
        message: expect.stringContaining("its folder does not exist"),
        hint: expect.stringContaining(`mkdir -p -m 700 ${join(folder, "missing")}`),
      }),
    );
  });
});
