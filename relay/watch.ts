import type { Reports } from "./reports.ts";

/** Lines that wait for a reader: a second of a busy relay. */
const MAX_LINES = 5000;

/**
 * The reports from now on as JSON lines, the first of them `watching`. The relay never waits for a reader: one that is
 * {@link MAX_LINES} behind gets `too_slow` as its last line.
 */
export function watchReports(
  reports: Pick<Reports, "subscribe">,
  maxLines: number = MAX_LINES,
): ReadableStream<Uint8Array> {
  let stop = () => {};
  return new ReadableStream(
    {
      start(controller) {
        const write = (event: string, fields?: Readonly<Record<string, unknown>>) =>
          controller.enqueue(Buffer.from(`${JSON.stringify({ event, at: Date.now(), ...fields })}\n`));
        write("watching");
        stop = reports.subscribe((event, fields) => {
          if ((controller.desiredSize ?? 0) > 0) return write(event, fields);
          stop();
          write("too_slow");
          controller.close();
        });
      },
      cancel: () => stop(),
    },
    { highWaterMark: maxLines },
  );
}
