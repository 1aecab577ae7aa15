/**
 * `node holder.ts <url> <dataDir>`: adds events 1 to 6, takes three in hand, never lets go, and says
 * `holding` when it has them. For tests that kill it.
 */
import { openQueue } from "../../../relay/queue/open.ts";

const [url = "", dataDir = ""] = process.argv.slice(2);
const queue = await openQueue({ url, dataDir, concurrency: 3, report: () => {} });
let inHand = 0;
queue.process(
  () => {
    inHand += 1;
    if (inHand === 3) process.stdout.write("holding\n");
    return new Promise(() => {});
  },
  () => {},
);
for (const seq of [1, 2, 3, 4, 5, 6]) {
  const name = { stream: "a-stream", seq, topic: "webhook.github.push", delivery: `guid-${seq}` };
  await queue.add([{ ...name, sealed: Buffer.from(`sealed ${seq}`) }]);
}
await queue.resume();
