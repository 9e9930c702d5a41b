/** Output on its way from a command to the instance: bounded, because the writer waits while it is full. */
export interface OutputBuffer {
  readonly length: number;
  readonly ended: boolean;
  push(bytes: Uint8Array): void;
  /** Resolves when more may be written, or when `stop` aborts. */
  room(stop: AbortSignal): Promise<void>;
  /** Takes at most `maxBytes` from the front. */
  take(maxBytes: number): Uint8Array;
  /** Puts bytes back in front. */
  putBack(bytes: Uint8Array): void;
  /** Resolves when there is something to take, or when the output has ended. */
  changed(): Promise<void>;
  /** Resolves when the output has ended, when more than `bytes` wait, or when `stop` aborts. */
  filled(bytes: number, stop: AbortSignal): Promise<void>;
  end(): void;
  /** Nothing is kept from now on: the reader has given up. */
  discard(): void;
}

/** @param highWaterBytes the writer waits while more than this is kept */
export function createOutputBuffer(highWaterBytes: number): OutputBuffer {
  let parts: Uint8Array[] = [];
  let length = 0;
  let ended = false;
  let discarded = false;
  let event = Promise.withResolvers<void>();

  /** Wakes everybody who waits for a change; each looks for itself whether it was the one it waits for. */
  function wake(): void {
    event.resolve();
    event = Promise.withResolvers<void>();
  }

  async function until(condition: () => boolean, stop?: AbortSignal): Promise<void> {
    while (!condition() && stop?.aborted !== true) {
      await (stop === undefined ? event.promise : Promise.race([event.promise, aborted(stop)]));
    }
  }

  return {
    get length() {
      return length;
    },
    get ended() {
      return ended;
    },
    push(bytes) {
      if (bytes.length === 0 || discarded) return;
      parts.push(bytes);
      length += bytes.length;
      wake();
    },
    room: (stop) => until(() => length <= highWaterBytes || discarded, stop),
    take(maxBytes) {
      const taken: Uint8Array[] = [];
      let wanted = Math.min(maxBytes, length);
      length -= wanted;
      while (wanted > 0) {
        const part = parts[0];
        if (part === undefined) break;
        if (part.length <= wanted) {
          taken.push(part);
          parts.shift();
        } else {
          taken.push(part.subarray(0, wanted));
          parts[0] = part.subarray(wanted);
        }
        wanted -= Math.min(part.length, wanted);
      }
      wake();
      return Buffer.concat(taken);
    },
    putBack(bytes) {
      if (bytes.length === 0 || discarded) return;
      parts.unshift(bytes);
      length += bytes.length;
    },
    changed: () => until(() => length > 0 || ended),
    filled: (bytes, stop) => until(() => length > bytes || ended, stop),
    end() {
      ended = true;
      wake();
    },
    discard() {
      discarded = true;
      parts = [];
      length = 0;
      wake();
    },
  };
}

/** Resolves when the signal aborts. One listener per signal and wait, removed with the signal. */
const abortions = new WeakMap<AbortSignal, Promise<void>>();
function aborted(signal: AbortSignal): Promise<void> {
  let promise = abortions.get(signal);
  if (promise === undefined) {
    promise = new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    abortions.set(signal, promise);
  }
  return promise;
}
