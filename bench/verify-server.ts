/** The least that a webhook receiver does: an HTTP server that checks GitHub's signature and answers. */
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const [secret = ""] = process.argv.slice(2);

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const expected = createHmac("sha256", secret).update(Buffer.concat(chunks)).digest();
    const stated = Buffer.from(String(request.headers["x-hub-signature-256"]).slice("sha256=".length), "hex");
    const matches = stated.length === expected.length && timingSafeEqual(stated, expected);
    response.writeHead(matches ? 202 : 401, { "content-type": "application/json" }).end("{}");
  });
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  if (typeof address === "object" && address) console.log(address.port);
});
