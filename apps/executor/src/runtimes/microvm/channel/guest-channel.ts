import type { Socket } from 'node:net';
import type { GuestCommand } from './command.ts';
import { readFile, renew, writeFile } from './files.ts';
import { GuestError } from './guest-error.ts';
import { Link } from './link.ts';
import { type GuestProcess, startProcess } from './process.ts';

/** A session with the guest's agent. Everything started over it is killed when it ends. */
export interface GuestChannel extends AsyncDisposable {
  /** Resolves with the reason when the connection ends (VM died, guest broke the protocol, disposed). Never rejects. */
  readonly closed: Promise<Error>;
  /** @throws GuestError when the program cannot be started */
  exec(command: GuestCommand, signal?: AbortSignal): Promise<GuestProcess>;
  /** Regular files only, opened without following links; undefined when missing; GuestError when more than maxBytes. */
  readFile(path: string, maxBytes: number): Promise<Uint8Array | undefined>;
  /** @param mode 0644 unless given */
  writeFile(path: string, bytes: Uint8Array, mode?: number): Promise<void>;
  /**
   * After a restore from a snapshot: fresh entropy (at most 512 bytes) into the kernel's pool, the clock, a new machine-id; then
   * drives are mounted.
   * @param drives serials of those whose places were empty: workspace, scratch, images
   * @throws GuestError also when one cannot be mounted
   */
  renew(now: Date, entropy: Uint8Array, drives: readonly string[]): Promise<void>;
}

/** @param received what came behind the answer to the greeting */
export function openChannel(socket: Socket, nonce: Buffer, received: Buffer): GuestChannel {
  const link = new Link(socket, nonce, received);
  return {
    closed: link.closed,
    exec: (command, signal) => startProcess(link, command, signal),
    readFile: (path, maxBytes) => readFile(link, path, maxBytes),
    writeFile: (path, bytes, mode = 0o644) => writeFile(link, path, bytes, mode),
    renew: (now, entropy, drives) => renew(link, now, entropy, drives),
    async [Symbol.asyncDispose]() {
      link.close(new GuestError('the control channel was closed'));
    },
  };
}
