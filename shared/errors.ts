/** How an {@link OnionhookError} is described beyond its code and message. */
export interface ErrorDetails {
  /** The next thing to do, as one sentence or command, for the person who reads the error. */
  hint?: string;
  /** Whether the same thing may succeed when it is tried again unchanged. */
  retryable?: boolean;
  cause?: unknown;
}

/**
 * The one error family of the project. `code` is stable and starts with `ERR_`; `message` is safe to
 * log: it never holds a body, a key or an onion address.
 */
export class OnionhookError extends Error {
  override readonly name = "OnionhookError";
  readonly code: string;
  readonly hint: string | undefined;
  readonly retryable: boolean;

  constructor(code: `ERR_${string}`, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.hint = details.hint;
    this.retryable = details.retryable ?? false;
  }
}

/** What may be said of any thrown value: its code if it is ours, and nothing of a library's text. */
export function describeError(error: unknown): { code: string; message: string; hint?: string } {
  if (error instanceof OnionhookError) {
    const { code, message, hint } = error;
    return hint === undefined ? { code, message } : { code, message, hint };
  }
  const code = errnoCode(error);
  return { code: code ?? "ERR_INTERNAL", message: code ?? "an unexpected error" };
}

/** The form of a system's code (`ECONNREFUSED`, `57P01`); a library may put any text into `code`. */
const CODE = /^[A-Z0-9_]{2,64}$/;

/** The `code` of a Node.js system error (`ECONNREFUSED`, …), if the value is one. */
export function errnoCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" && CODE.test(error.code) ? error.code : undefined;
}
