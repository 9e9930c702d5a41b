import { isIPv6 } from 'node:net';

export interface ListenAddress {
  /** A name or an IP address, without brackets. `localhost` listens on both its addresses, `::` on all. */
  host: string;
  /** 0: any free port. */
  port: number;
}

/**
 * Reads `HOST:PORT`: `127.0.0.1:3080`, `[::1]:3080`, `localhost:3080`, `:3080` (every address of the machine).
 * @throws RangeError with the accepted forms
 */
export function parseListenAddress(text: string): ListenAddress {
  const match = /^(?:\[([^\]]*)\]|([^:[\]\s]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  const v6 = match?.[1];
  if (!match || port > 65_535 || (v6 !== undefined && !isIPv6(v6))) {
    throw new RangeError(
      `${JSON.stringify(text)} is not an address to listen on such as "127.0.0.1:3080", "[::1]:3080" or ":3080" (every address)`,
    );
  }
  return { host: v6 ?? (match[2] || '::'), port };
}

/** The URL of an address, for people on this machine: an unspecified address becomes a loopback one. */
export function urlOf({ host, port }: ListenAddress): string {
  const reachable = host === '::' || host === '0.0.0.0' ? '127.0.0.1' : host;
  return `http://${isIPv6(reachable) ? `[${reachable}]` : reachable}:${port}`;
}
