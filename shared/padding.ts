/**
 * The Padmé size for `length` bytes: at most 12 % larger, and few enough sizes that a length tells
 * O(log log n) bits (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and
 * Communication with PURBs", 2019, §4).
 * @throws RangeError for what is no size below 2 GiB: the arithmetic is of 32 bits.
 */
export function padmeSize(length: number): number {
  if (!Number.isSafeInteger(length) || length < 0 || length >= 2 ** 31)
    throw new RangeError("length must be a whole number of bytes below 2 GiB");
  if (length < 2) return length;
  const exponent = 31 - Math.clz32(length);
  const mantissaBits = 32 - Math.clz32(exponent);
  const step = 2 ** Math.max(0, exponent - mantissaBits);
  return Math.ceil(length / step) * step;
}
