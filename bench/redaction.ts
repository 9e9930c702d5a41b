import { setImmediate } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { createRedactor, type Redactor } from '@kiln/redaction';
import { benignCorpus, typicalSecrets } from '@kiln/redaction/testing';
import type { BenchResult } from './bench.ts';

export const about = 'throughput of the log redactor on one core, with 50 secrets in all encodings';

const chunkBytes = 64 * 1024;

export async function run(args: string[], signal: AbortSignal): Promise<BenchResult> {
  const { values } = parseArgs({
    args,
    options: {
      secrets: { type: 'string', default: '50' },
      megabytes: { type: 'string', default: '50' },
      runs: { type: 'string', default: '7' },
    },
  });
  const runs = Number(values.runs);
  const secrets = typicalSecrets(Number(values.secrets));
  const corpus = benignCorpus(Number(values.megabytes) * 1e6);

  const begun = performance.now();
  const redactor = createRedactor(new Map(secrets.map((secret, index) => [secret, `secrets.S${index}`])));
  const buildMs = performance.now() - begun;

  // The first run also compiles the code; a log of some MB is enough for that.
  redactAll(redactor, corpus.subarray(0, 10e6));
  const plain = await repeat(runs, signal, () => megabytesPerSecond(redactor, corpus));
  const withSecrets = sprinkle(corpus, secrets, 2000);
  const busy = await repeat(runs, signal, () => megabytesPerSecond(redactor, withSecrets));
  const masking = createRedactor(new Map(secrets.map((secret) => [secret, ''])));
  const maskedBytes = corpus.length - redactAll(masking, corpus);

  return {
    settings: {
      secrets: secrets.length,
      'corpus bytes': corpus.length,
      'chunk bytes': chunkBytes,
      runs,
      'runs, MB/s': plain.map((value) => value.toFixed(0)).join(' '),
      'runs with 2000 secrets in the text, MB/s': busy.map((value) => value.toFixed(0)).join(' '),
    },
    measures: [
      {
        name: 'benign text, median',
        value: median(plain),
        unit: 'MB/s of CPU time',
        must: { atLeast: 100 },
        aim: { atLeast: 200 },
      },
      { name: 'with 2000 secrets in it, median', value: median(busy), unit: 'MB/s', must: { atLeast: 100 } },
      {
        name: 'benign text masked',
        value: (maskedBytes / corpus.length) * 100,
        unit: '%',
        must: { atMost: 0.01 },
      },
      { name: 'making the redactor', value: buildMs, unit: 'ms' },
    ],
  };
}

async function repeat(runs: number, signal: AbortSignal, measure: () => number): Promise<number[]> {
  const results: number[] = [];
  while (results.length < runs) {
    results.push(measure());
    // Interruptions are noticed only between turns of the event loop.
    await setImmediate();
    signal.throwIfAborted();
  }
  return results;
}

function redactAll(redactor: Redactor, bytes: Uint8Array): number {
  const stream = redactor.stream();
  let shown = 0;
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    shown += stream.write(bytes.subarray(at, at + chunkBytes)).length;
  }
  return shown + stream.flush().length;
}

/** By the processor time of this process: on a machine that others use as well, the clock measures them. */
function megabytesPerSecond(redactor: Redactor, bytes: Uint8Array): number {
  const begun = process.cpuUsage();
  redactAll(redactor, bytes);
  const { user, system } = process.cpuUsage(begun);
  return bytes.length / (user + system);
}

/** The corpus with `count` secrets written over it, evenly apart. */
function sprinkle(corpus: Buffer, secrets: readonly string[], count: number): Buffer {
  const sprinkled = Buffer.from(corpus);
  for (let turn = 0; turn < count; turn++) {
    const secret = secrets[turn % secrets.length] ?? '';
    const form = turn % 2 === 0 ? secret : Buffer.from(secret).toString('base64');
    sprinkled.write(form, Math.floor((turn * corpus.length) / count));
  }
  return sprinkled;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}
