import { setTimeout as sleep } from 'node:timers/promises';
import { createGzip } from 'node:zlib';
import type { BenchInstance } from '../site/bench-site.ts';
import type { CountingProxy } from '../site/counting-proxy.ts';
import { completion, followJob, outcome, readOutput, submitJob } from '../site/jobs.ts';
import { peakResidentBytes, resetPeak, residentBytes } from '../site/process-figures.ts';
import { blockBytes, type Text } from './texts.ts';

/** What a job with a log is run on. */
export interface LogSite {
  instance: BenchInstance;
  /** Between the executor and the instance. */
  proxy: CountingProxy;
  image: string;
  signal: AbortSignal;
}

export interface LargeLog {
  /** Sent by the executor to the instance, as it was on the wire, and without the compression of its bodies. */
  wireBytes: number;
  plainBytes: number;
  /** Memory of the instance before, and at its highest until the job had ended. */
  idleBytes: number;
  peakBytes: number;
  /** From submit to outcome. */
  seconds: number;
  /** What gzip makes of the log itself, at the level that the executor uses. */
  gzipShare: number;
}

const restMs = 5000;
const linePrefix = 'stdout: ';
const lineFeed = 10;

/**
 * Has a step write so many megabytes, and makes sure that all of them are kept.
 * @param options.watched a subscriber follows the log meanwhile
 */
export async function writeLargeLog(
  { instance, proxy, image, signal }: LogSite,
  { text, megabytes, watched }: { text: Text; megabytes: number; watched: boolean },
): Promise<LargeLog> {
  const { run, files } = text(megabytes);
  const bytes = megabytes * blockBytes;
  // What the job before left to do (its log is archived soon after its end) is not this one's.
  await sleep(restMs, undefined, { signal });
  const idleBytes = await residentBytes(instance.pid);
  await resetPeak(instance.pid);
  const before = { wire: proxy.wireBytes(), plain: proxy.plainBytes() };
  const begun = performance.now();
  const id = await submitJob(instance, { steps: [{ image, run }], ...(files && { files }) }, signal);
  if (watched) await completion(followJob(instance, id, signal));
  const entries = await outcome(instance, id, signal);
  const measured = {
    wireBytes: proxy.wireBytes() - before.wire,
    plainBytes: proxy.plainBytes() - before.plain,
    idleBytes,
    peakBytes: await peakResidentBytes(instance.pid),
    seconds: (performance.now() - begun) / 1000,
  };
  const step = entries.find(({ key }) => key.startsWith('step.'));
  if (!step) throw new Error(`job ${id} has no log of its step`);
  const kept = await weigh(await readOutput(instance, id, step.entry, signal));
  if (kept.bytes !== bytes) throw new Error(`a log of ${bytes} bytes was kept as ${kept.bytes}`);
  return { ...measured, gzipShare: kept.gzipBytes / bytes };
}

/** @returns the sizes without the prefixes of lines; gzip is tried with them, as they are sent */
async function weigh(output: AsyncIterable<Uint8Array>): Promise<{ bytes: number; gzipBytes: number }> {
  let bytes = 0;
  let gzipBytes = 0;
  const gzip = createGzip({ level: 1 }).on('data', (chunk: Buffer) => {
    gzipBytes += chunk.length;
  });
  const ended = Promise.withResolvers<void>();
  gzip.once('end', ended.resolve).once('error', ended.reject);
  for await (const chunk of output) {
    bytes += chunk.length;
    for (let at = chunk.indexOf(lineFeed); at >= 0; at = chunk.indexOf(lineFeed, at + 1))
      bytes -= linePrefix.length;
    if (!gzip.write(chunk)) await new Promise((resolve) => gzip.once('drain', resolve));
  }
  gzip.end();
  await ended.promise;
  return { bytes, gzipBytes };
}
