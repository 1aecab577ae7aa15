export interface Hangups {
  /** Has `listener` called at every SIGHUP from now on, and at once for those that came before. */
  listen(listener: () => void): void;
  /** From then on SIGHUP ends the process again. */
  end(): void;
}

/** Takes SIGHUP, which ends a process that does not: whoever may be sent one while it starts begins with this. */
export function takeHangups(): Hangups {
  let listener: (() => void) | undefined;
  let isMissed = false;
  const onHangup = () => {
    isMissed = listener === undefined;
    listener?.();
  };
  process.on("SIGHUP", onHangup);
  return {
    listen(next) {
      listener = next;
      if (isMissed) next();
      isMissed = false;
    },
    end: () => void process.off("SIGHUP", onHangup),
  };
}
