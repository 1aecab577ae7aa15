/**
 * How a part tells what happened. A part never prints: it is handed a `Report`, and only `cli/`
 * decides whether that becomes a line of JSON, a line for people, or an assertion in a test.
 *
 * `event` is one of the names in docs/architecture.md, "The one-command run"; `fields` never hold a body, a key or a
 * library's error text.
 */
export type Report = (event: string, fields?: Readonly<Record<string, unknown>>) => void;

/** Reports in whose errors it stands what they are about, e.g. `{ to: "router" }`. */
export function reportAbout(report: Report, about: Readonly<Record<string, unknown>>): Report {
  return (event, fields) => report(event, event === "error" ? { ...fields, ...about } : fields);
}
