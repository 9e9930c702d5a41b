import { brokenProtocol, hostFrame, initialInputCredit } from './frames.ts';
import { GuestError } from './guest-error.ts';
import type { Link } from './link.ts';

const chunkBytes = 32 * 1024;

/** What the host sends to a command's standard input or into a file: never more than the guest has room for. */
export class InputFlow {
  readonly #link: Link;
  readonly #stream: number;
  #credit = initialInputCredit;
  #more: PromiseWithResolvers<void> | undefined;
  /** Of earlier calls: chunks of two never mix. */
  #before: Promise<void> = Promise.resolve();
  #state: 'open' | 'ended' | 'closed' = 'open';

  constructor(link: Link, stream: number) {
    this.#link = link;
    this.#stream = stream;
  }

  /** Resolves when all was sent, or when nobody takes it any more. */
  async write(bytes: Uint8Array): Promise<void> {
    if (this.#state === 'ended') throw new GuestError('the input of this command was ended before');
    this.#before = this.#before.then(() => this.#send(bytes));
    return this.#before;
  }

  end(): void {
    if (this.#state !== 'open') return;
    this.#state = 'ended';
    void this.#before.then(() => {
      if (this.#state !== 'closed') void this.#link.send(hostFrame.inputEnd, this.#stream);
    });
  }

  /** The guest has taken so much. */
  credit(payload: Buffer): void {
    const bytes = payload.length === 4 ? payload.readUInt32LE() : 0;
    this.#credit += bytes;
    if (bytes === 0 || this.#credit > initialInputCredit) throw brokenProtocol('wrong credit for input');
    this.#more?.resolve();
    this.#more = undefined;
  }

  /** Nobody takes any more; whoever waits goes on. */
  close(): void {
    this.#state = 'closed';
    this.#more?.resolve();
  }

  async #send(bytes: Uint8Array): Promise<void> {
    let at = 0;
    while (at < bytes.length && this.#state !== 'closed') {
      if (this.#credit === 0) {
        this.#more ??= Promise.withResolvers<void>();
        await this.#more.promise;
        continue;
      }
      const chunk = bytes.subarray(at, at + Math.min(chunkBytes, this.#credit));
      this.#credit -= chunk.length;
      at += chunk.length;
      await this.#link.send(hostFrame.input, this.#stream, chunk);
    }
  }
}
