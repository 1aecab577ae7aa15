import { createServer } from "node:net";
import { errnoCode, OnionhookError } from "../../shared/errors.ts";

const LOOPBACK = "127.0.0.1";

/**
 * The port asked for, or any free one for 0.
 * @throws OnionhookError `ERR_PORT_BUSY`
 */
export async function takePort(port: number, option: string): Promise<number> {
  try {
    return await tryPort(port);
  } catch (cause) {
    const busy = errnoCode(cause) === "EADDRINUSE";
    throw new OnionhookError(
      "ERR_PORT_BUSY",
      `port ${port} ${busy ? "is in use" : `cannot be used (${errnoCode(cause)})`}`,
      {
        hint: `choose another with ${option} N; ${option} 0 takes any free one`,
        cause,
      },
    );
  }
}

/** The preferred port if it is free, else any. */
export async function preferPort(port: number | undefined): Promise<number> {
  return tryPort(port ?? 0).catch(() => tryPort(0));
}

function tryPort(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(port, LOOPBACK, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address ? address.port : port));
    });
  });
}
