/**
 * What Tor is told of an onion service: the command ADD_ONION. It never opens one to everybody by mistake.
 * Source: Tor's control-spec, ADD_ONION.
 */
import { OnionhookError } from "../errors.ts";
import type { Control } from "./control.ts";
import { isLocalAddress, isPort, localAddressText, type LocalAddress } from "./local-socket.ts";
import { clientAuthText, onionKeyBlob } from "./onion-keys.ts";

export interface OnionAccess {
  /** x25519 public keys, 32 bytes each, of those who may connect. */
  readonly clients: readonly Uint8Array[];
  /** Must be said when there are no clients: anybody who knows the address may connect. */
  readonly open?: boolean;
}

/** Tor's HiddenServicePoWQueueRate and -Burst: how many are let in per second, and at once. */
export interface PowDefence {
  readonly queueRate: number;
  readonly queueBurst: number;
}

/** A service but for who may connect, which alone may change while it is there. */
export interface OnionForm {
  /** ed25519 seed, 32 bytes: the same seed is the same address. Secret. */
  seed: Uint8Array;
  /** The port under the onion address. */
  virtualPort: number;
  /** Where connections go: a unix socket, or a port of this machine's loopback. */
  target: LocalAddress;
  /** Lets those in first who did more work, while more come than are let in. */
  pow?: PowDefence | undefined;
  /** Connections at a time on one circuit; a circuit with more is closed. Any number when left out. */
  maxStreams?: number | undefined;
}

/**
 * The command, with the service's secret key. The same access gives the same one, in whatever order it names clients.
 * @throws as `publishOnionService`
 */
export function addOnionCommand(form: OnionForm, { clients, open = false }: OnionAccess): string {
  const { seed, virtualPort, target, pow, maxStreams } = form;
  if (!isPort(virtualPort)) throw new RangeError("virtualPort: 1 to 65535");
  if (!isLoopback(target)) throw new RangeError("target: expected a loopback address, or an absolute path");
  // Arguments of ADD_ONION end at a space and cannot be quoted, and the control port speaks ASCII.
  if ("path" in target && !/^[\x21-\x7e]+$/.test(target.path)) {
    throw new OnionhookError(
      "ERR_TOR_ONION_TARGET",
      "Tor cannot be told of a socket whose path has spaces, or other characters than ASCII's",
      { hint: "Give the socket behind the onion service another path." },
    );
  }
  if (clients.length === 0 && !open) {
    throw new OnionhookError(
      "ERR_TOR_ONION_OPEN",
      "an onion service without clients would be open to anybody",
      {
        hint: "Give the public key of every client, or say that it is to be open.",
      },
    );
  }
  const flags = ["DiscardPK"];
  if (clients.length > 0) flags.push("V3Auth");
  if (maxStreams !== undefined) flags.push("MaxStreamsCloseCircuit");
  const keys = [...new Set(clients.map(clientAuthText))].toSorted((a, b) => (a < b ? -1 : 1));
  return [
    `ADD_ONION ${onionKeyBlob(seed)} Flags=${flags.join(",")}`,
    ...(maxStreams === undefined ? [] : [`MaxStreams=${maxStreams}`]),
    ...(pow === undefined
      ? []
      : [`PoWDefensesEnabled=1 PoWQueueRate=${pow.queueRate} PoWQueueBurst=${pow.queueBurst}`]),
    `Port=${virtualPort},${localAddressText(target)}`,
    ...keys.map((key) => `${CLIENT}${key}`),
  ].join(" ");
}

const CLIENT = "ClientAuthV3=";

export function countClients(command: string): number {
  return command.split(CLIENT).length - 1;
}

/** The service's target is on this machine: Tor would happily forward to any other. */
function isLoopback(target: LocalAddress): boolean {
  if (!isLocalAddress(target)) return false;
  return "path" in target || target.host === "::1" || target.host.startsWith("127.");
}

/** @throws OnionhookError `ERR_TOR_POW` when Tor does not know that defence */
export async function addOnion(
  control: Control,
  command: string,
  pow: PowDefence | undefined,
): Promise<void> {
  try {
    await control.command(command);
  } catch (error) {
    const isRefused = error instanceof OnionhookError && error.code === "ERR_TOR_CONTROL" && !error.retryable;
    if (pow === undefined || !isRefused) throw error;
    throw new OnionhookError("ERR_TOR_POW", "this tor does not publish with the proof-of-work defence", {
      hint: "ADD_ONION has it from tor 0.4.9.2 on. Leave onion.pow out, or publish with HiddenServiceDir: docs/onion.md.",
      retryable: true,
      cause: error,
    });
  }
}
