/**
 * For `node --import`: notes every connection that this process opens and every name that it looks up, one JSON
 * object a line, in the file that `OBSERVED_DIALS` names.
 */
import dgram from "node:dgram";
import dns from "node:dns";
import { appendFileSync } from "node:fs";
import net from "node:net";

const file = process.env["OBSERVED_DIALS"] ?? "/dev/null";
/** An address that is "looked up" asks nobody. */
const note = (seen: { connect?: string; lookup?: unknown }) => {
  if (typeof seen.lookup !== "string" || net.isIP(seen.lookup) === 0)
    appendFileSync(file, `${JSON.stringify(seen)}\n`);
};

/** Has `method` of `owner` noted before it does what it does. */
function observe(
  owner: object,
  method: string,
  what: (args: readonly unknown[]) => Parameters<typeof note>[0],
): void {
  const real: unknown = Reflect.get(owner, method);
  if (typeof real !== "function") throw new Error(`${method} is no function`);
  Reflect.set(owner, method, function observed(this: unknown, ...args: unknown[]): unknown {
    note(what(args));
    return Reflect.apply(real, this, args);
  });
}

observe(net.Socket.prototype, "connect", ([first]) => {
  // net.connect hands its arguments on as one array.
  const options: unknown = Array.isArray(first) ? first[0] : first;
  const { host, port, path } = options as net.TcpSocketConnectOpts & net.IpcSocketConnectOpts;
  return { connect: path ?? `${host ?? ""}:${port}` };
});
for (const owner of [dns, dns.promises, dns.Resolver.prototype, dns.promises.Resolver.prototype])
  for (const method of ["lookup", "resolve", "resolve4", "resolve6", "reverse"])
    if (method in owner) observe(owner, method, ([name]) => ({ lookup: name }));
observe(dgram.Socket.prototype, "send", () => ({ lookup: "a datagram" }));
