/** Lets one waiter go on: what rings while nobody waits is heard by the next wait, so none is lost. */
export interface Bell {
  ring(): void;
  /** Resolves when the bell rings, when it has rung since the last wait, or after `ms`. */
  wait(ms?: number): Promise<void>;
}

export function makeBell(): Bell {
  let rung = false;
  let answer: (() => void) | undefined;
  return {
    ring() {
      rung = true;
      answer?.();
    },
    async wait(ms) {
      if (!rung) {
        await new Promise<void>((resolve) => {
          const timer = ms === undefined ? undefined : setTimeout(resolve, ms);
          answer = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
      rung = false;
    },
  };
}
