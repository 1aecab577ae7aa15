/** Controls (ESC among them), formats (as those that turn the writing's direction), ends of lines and paragraphs. */
const UNSEEN = /(?!\n {2})[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/**
 * Text for people's terminals: what would act there, and not be seen, is written out, as `\u{1b}`, since a peer's
 * words may be part of any text. Only a line that is indented may follow another.
 */
export function visible(text: string): string {
  return text.replaceAll(UNSEEN, (unseen) => String.raw`\u{${(unseen.codePointAt(0) ?? 0).toString(16)}}`);
}
