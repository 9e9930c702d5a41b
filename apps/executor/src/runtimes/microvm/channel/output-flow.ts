import { brokenProtocol, hostFrame, outputFrameCost, outputWindow } from './frames.ts';
import type { Link } from './link.ts';

/**
 * What the guest sends on one stream, handed over piece by piece. Credit goes back for what was taken, so the guest
 * never sends more than a window ahead of the reader.
 */
export class OutputFlow {
  readonly #link: Link;
  readonly #stream: () => number;
  readonly #take: (type: number, bytes: Buffer) => Promise<void>;
  #granted = outputWindow;
  #owed = 0;
  #before: Promise<void> = Promise.resolve();
  #failed: { error: unknown } | undefined;

  constructor(link: Link, stream: () => number, take: (type: number, bytes: Buffer) => Promise<void>) {
    this.#link = link;
    this.#stream = stream;
    this.#take = take;
  }

  /** @throws GuestError for more than was granted */
  push(type: number, bytes: Buffer): void {
    const cost = bytes.length + outputFrameCost;
    this.#granted -= cost;
    if (bytes.length === 0 || this.#granted < 0) throw brokenProtocol('more output than it may send');
    this.#before = this.#before.then(() => this.#handOver(type, bytes, cost));
  }

  /** Resolves when all that came was taken. @throws what taking threw */
  async taken(): Promise<void> {
    await this.#before;
    if (this.#failed !== undefined) throw this.#failed.error;
  }

  async #handOver(type: number, bytes: Buffer, cost: number): Promise<void> {
    try {
      // After a failure the rest is dropped, and still paid for, so that the command can end.
      if (this.#failed === undefined) await this.#take(type, bytes);
    } catch (error) {
      this.#failed = { error };
    }
    this.#owed += cost;
    if (this.#owed < outputWindow / 4) return;
    const credit = Buffer.alloc(4);
    credit.writeUInt32LE(this.#owed);
    this.#granted += this.#owed;
    this.#owed = 0;
    void this.#link.send(hostFrame.credit, this.#stream(), credit);
  }
}
