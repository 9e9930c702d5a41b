import type { Readable } from 'node:stream';
import type { StepStreams } from '../runtime.ts';
import { EngineUnreachable } from './engine-errors.ts';
import { outputReader } from './multiplexed-stream.ts';

/** Passes a container's output on, no faster than it is taken. */
export interface OutputPump {
  /** Resolves at the end of the output, or after {@link cut}. Rejects with what `write` threw, or EngineUnreachable. */
  readonly done: Promise<void>;
  /** For how long Docker has sent nothing although we were ready; 0 while a write is under way. */
  idleSeconds(): number;
  /** Gives up the rest. */
  cut(): void;
}

export function pumpOutput(source: Readable, streams: StepStreams): OutputPump {
  let isCut = false;
  let readySince: number | undefined = performance.now();
  const read = outputReader();

  async function pump(): Promise<void> {
    const iterator = source[Symbol.asyncIterator]();
    for (;;) {
      readySince = performance.now();
      const chunk = await nextChunk(iterator);
      readySince = undefined;
      if (isCut || chunk === undefined) return;
      for (const piece of read(chunk)) {
        await streams.write(piece.stream, piece.bytes);
        if (isCut) return;
      }
    }
  }

  async function nextChunk(iterator: AsyncIterator<Uint8Array>): Promise<Uint8Array | undefined> {
    try {
      const next = await iterator.next();
      return next.done === true ? undefined : next.value;
    } catch (error) {
      if (isCut) return undefined;
      throw new EngineUnreachable(
        `the step's output broke off: ${error instanceof Error ? error.message : String(error)}`,
        { cause: error },
      );
    }
  }

  return {
    done: pump().finally(() => source.destroy()),
    idleSeconds: () => (readySince === undefined ? 0 : (performance.now() - readySince) / 1000),
    cut() {
      isCut = true;
      source.destroy();
    },
  };
}
