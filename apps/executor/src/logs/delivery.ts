import { isUtf8 } from 'node:buffer';
import { InstanceError, type JobClient, type LogEntryState, withRetries } from '../client/index.ts';
import type { OutputBuffer } from './output-buffer.ts';

/** What an entry is, beside its output. `exitCode` and `durationMs` appear when its command has ended. */
export type EntryHead = Omit<LogEntryState, 'out'>;

export interface Delivery {
  client: JobClient;
  head(): EntryHead;
  output: OutputBuffer;
  /** Adds the entry when all earlier ones have been added, so that ids follow the order in which commands began. */
  inTurn<Result>(add: () => Promise<Result>): Promise<Result>;
  /** Aborted when the job has been lost: nobody wants the log any more. */
  abandoned: AbortSignal;
}

/** An instance may be away for ten minutes (an upgrade, a restart); its logs wait that long and some more. */
const outage = { forSeconds: 15 * 60, maxDelaySeconds: 5 };
/** Output that comes within this time of the first byte travels with it. */
const gatherMilliseconds = 15;
const chunkBytes = 512 * 2 ** 10;
const plainIntervalMilliseconds = 1000;
/** A plain instance is sent the whole output again each time, so it must fit into memory several times over. */
const plainOutputLimitBytes = 64 * 2 ** 20;
const mostGaps = 3;

/**
 * Delivers one entry to its end, in the best way the instance offers.
 * @throws InstanceError when the instance will not take more of it, or was away for too long
 */
export async function deliverEntry(delivery: Delivery): Promise<void> {
  if (delivery.client.offers('log-append')) await deliverAppending(delivery);
  else await deliverWhole(delivery);
}

async function deliverAppending(delivery: Delivery): Promise<void> {
  const { client, output, abandoned } = delivery;
  const entry = await addEntry(delivery);
  if (entry.complete) return;
  let offset = 0;
  let gaps = 0;
  for (let final = false; !final; ) {
    await output.changed();
    if (!output.ended) await output.filled(chunkBytes / 2, AbortSignal.timeout(gatherMilliseconds));
    let pending = output.take(chunkBytes);
    final = output.ended && output.length === 0;
    const { exitCode, durationMs } = delivery.head();
    const ending =
      final && exitCode !== undefined && durationMs !== undefined ? { exitCode, durationMs } : {};
    for (let delivered = false; !delivered; ) {
      const chunk = { offset, data: pending, ...ending };
      const next = await withRetries(() => client.appendLog(entry.id, chunk, abandoned), outage, abandoned);
      delivered = next === offset + pending.length;
      if (!delivered && next > offset && next < offset + pending.length) {
        pending = pending.subarray(next - offset);
      } else if (!delivered) {
        // The instance lost what it had acknowledged, or holds what was never sent. Neither can be mended: say so
        // where it happened, and go on from there.
        if (++gaps > mostGaps)
          throw new InstanceError('rejected', 'the instance does not keep the log that it acknowledges');
        pending = Buffer.concat([
          Buffer.from('[kiln] output is missing here: the instance lost a part of this log\n'),
          pending,
        ]);
      }
      offset = next;
    }
  }
}

async function deliverWhole(delivery: Delivery): Promise<void> {
  const { client, output, abandoned } = delivery;
  const entry = await addEntry(delivery);
  if (entry.complete) return;
  const whole: Uint8Array[] = [];
  let length = 0;
  for (let final = false; !final; ) {
    await output.changed();
    if (!output.ended)
      await output.filled(Number.POSITIVE_INFINITY, AbortSignal.timeout(plainIntervalMilliseconds));
    const taken = output.take(Number.POSITIVE_INFINITY);
    if (length + taken.length <= plainOutputLimitBytes) whole.push(taken);
    else if (length <= plainOutputLimitBytes)
      whole.push(Buffer.from('[kiln] this instance can take no more of this output: the rest is not kept\n'));
    length += taken.length;
    final = output.ended && output.length === 0;
    const state = { ...delivery.head(), out: Buffer.concat(whole).toString('utf8') };
    const startedAt = performance.now();
    await withRetries(() => client.updateLogEntry(entry.id, state, abandoned), outage, abandoned);
    // A large output is sent less often, so that sending it again and again does not become all the executor does.
    const rest = AbortSignal.timeout(Math.ceil(4 * (performance.now() - startedAt)));
    if (!final) await output.filled(Number.POSITIVE_INFINITY, rest);
  }
}

/**
 * Adds the entry; with its whole output in the same call when its command has ended by the time its turn comes. (Output
 * in JSON has to be UTF-8: other bytes are appended where the instance takes them so.)
 */
async function addEntry(delivery: Delivery): Promise<{ id: number; complete: boolean }> {
  const { client, output, abandoned } = delivery;
  return delivery.inTurn(async () => {
    const bytes = output.ended && output.length <= chunkBytes ? output.take(chunkBytes) : undefined;
    const complete = bytes !== undefined && (isUtf8(bytes) || !client.offers('log-append'));
    if (bytes !== undefined && !complete) output.putBack(bytes);
    const { exitCode: _code, durationMs: _duration, ...begun } = delivery.head();
    const state = complete
      ? { ...delivery.head(), out: Buffer.from(bytes).toString('utf8') }
      : { ...begun, out: '' };
    const id = await withRetries(() => client.addLogEntry(state, abandoned), outage, abandoned);
    return { id, complete };
  });
}
