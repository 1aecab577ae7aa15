/**
 * A webhook whose content type is `application/x-www-form-urlencoded`, GitHub's other one: a form of the
 * single field `payload`, which is the JSON. The signature is that of the form.
 */

const FIELD = "payload=";
const PERCENT = 0x25;
const AMPERSAND = 0x26;
const PLUS = 0x2b;
const SPACE = 0x20;

/**
 * The bytes of the field `payload`, as https://url.spec.whatwg.org/#urlencoded-parsing reads it, or
 * `undefined` when `raw` is anything but that one field with a value. A `%` without two hex digits, which
 * browsers let stand, is refused, as is a field's name with escapes: GitHub writes neither. Whether the
 * bytes are UTF-8 and JSON is left to `scanBody`.
 */
export function formPayload(raw: Uint8Array): Uint8Array<ArrayBuffer> | undefined {
  for (let at = 0; at < FIELD.length; at += 1) if (raw[at] !== FIELD.charCodeAt(at)) return undefined;
  let escapes = 0;
  for (let at = FIELD.length; at < raw.length; at += 1) {
    if (raw[at] === AMPERSAND) return undefined;
    if (raw[at] === PERCENT) escapes += 1;
  }
  const size = raw.length - FIELD.length - 2 * escapes;
  if (size <= 0) return undefined;

  const payload = new Uint8Array(size);
  let from = FIELD.length;
  for (let at = 0; at < size; at += 1) {
    const byte = raw[from] ?? 0;
    from += 1;
    if (byte === PERCENT) {
      const value = hexValue(raw[from]) * 16 + hexValue(raw[from + 1]);
      if (Number.isNaN(value)) return undefined;
      payload[at] = value;
      from += 2;
    } else payload[at] = byte === PLUS ? SPACE : byte;
  }
  // Not so when the last escape is cut short.
  return from === raw.length ? payload : undefined;
}

function hexValue(digit = 0): number {
  if (digit >= 0x30 && digit <= 0x39) return digit - 0x30;
  const letter = digit | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : Number.NaN;
}
