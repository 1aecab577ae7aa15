/** A drain that answers what a test says. */
import type { OpenDrain } from "../../../relay/drain/connection.ts";
import type { Answer } from "../../../relay/drain/machine.ts";
import type { ToEdge } from "../../../shared/drain.ts";

export type Question = Extract<ToEdge, { id: number }>;

export interface ScriptedDrain extends OpenDrain {
  /** What was asked. */
  readonly questions: Question[];
}

/** @param answer may throw, as an edge that is silent does. */
export function scriptedDrain(
  answer: (question: Question) => Answer | Promise<Answer>,
  { stream = "docs", may = [] }: { stream?: string; may?: readonly string[] } = {},
): ScriptedDrain {
  const questions: Question[] = [];
  return {
    stream,
    may,
    questions,
    send: () => {},
    async ask(question) {
      const asked = question(questions.length + 1);
      questions.push(asked);
      return answer(asked);
    },
    close: () => {},
  };
}
