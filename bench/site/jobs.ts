import { setTimeout as sleep } from 'node:timers/promises';
import { isEnded, type JobView, type LogEntryView, type LogEvent } from '@kiln/protocol';
import type { BenchInstance } from './bench-site.ts';

const pollMs = 200;

/** What is submitted: the body of `POST /.api/jobs`. */
export interface BenchJob {
  steps: { image: string; run: string }[];
  files?: Record<string, string>;
  network?: 'public' | 'none';
}

/** An event of a job's log, and when it was here (`performance.now()`). */
export type ReceivedEvent = LogEvent & { at: number };

/** @returns the job's id */
export async function submitJob(
  instance: BenchInstance,
  job: BenchJob,
  signal: AbortSignal,
): Promise<number> {
  const response = await call(instance, '/.api/jobs', signal, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(job),
  });
  return Number(Reflect.get(Object(await response.json()), 'id'));
}

/** Subscribes to a job's log, as the console does, from its beginning to the job's end. */
export async function* followJob(
  instance: BenchInstance,
  id: number,
  signal: AbortSignal,
): AsyncGenerator<ReceivedEvent> {
  const headers = { accept: 'text/event-stream' };
  const response = await call(instance, `/.api/jobs/${id}/log`, signal, { headers });
  let text = '';
  for await (const piece of (response.body ?? new ReadableStream()).pipeThrough(new TextDecoderStream())) {
    const at = performance.now();
    text += piece;
    const blocks = text.split('\n\n');
    text = blocks.pop() ?? '';
    for (const block of blocks) {
      const event = parseBlock(block);
      if (event) yield { ...event, at };
    }
  }
}

/** Waits for a job to end well. @throws when it ends in another way */
export async function completion(events: AsyncIterable<ReceivedEvent>): Promise<void> {
  let failure: string | null = null;
  for await (const { event, data } of events) {
    if (event === 'job') failure = data.failureMessage;
    if (event !== 'end') continue;
    if (data.state !== 'completed') throw new Error(`a job ended as ${data.state}: ${failure}`);
    return;
  }
  throw new Error("the stream of a job's log ended before the job");
}

/**
 * Waits for a job to end well without reading its log.
 * @throws when it ends in another way
 */
export async function outcome(
  instance: BenchInstance,
  id: number,
  signal: AbortSignal,
): Promise<LogEntryView[]> {
  for (;;) {
    const response = await call(instance, `/.api/jobs/${id}`, signal);
    const { state, failureMessage, logEntries } = (await response.json()) as JobView;
    if (state === 'completed') return logEntries;
    if (isEnded(state)) throw new Error(`job ${id} ended as ${state}: ${failureMessage}`);
    await sleep(pollMs, undefined, { signal });
  }
}

/** Asks for a job to be canceled; resolves when the instance has taken that. */
export async function cancelJob(instance: BenchInstance, id: number, signal: AbortSignal): Promise<void> {
  const response = await call(instance, `/.api/jobs/${id}/cancel`, signal, { method: 'POST' });
  await response.arrayBuffer();
}

/** The output of an entry, as it is kept. */
export async function readOutput(
  instance: BenchInstance,
  id: number,
  entry: number,
  signal: AbortSignal,
): Promise<ReadableStream<Uint8Array>> {
  const { body } = await call(instance, `/.api/jobs/${id}/logEntries/${entry}/output`, signal);
  return body ?? new ReadableStream();
}

async function call(
  { url, adminToken }: BenchInstance,
  path: string,
  signal: AbortSignal,
  init: RequestInit = {},
): Promise<Response> {
  const headers = { authorization: `token ${adminToken}`, ...init.headers };
  const response = await fetch(url + path, { ...init, headers, signal });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response;
}

/** Comments and ids are passed over. */
function parseBlock(block: string): LogEvent | undefined {
  const field = (name: string): string | undefined =>
    block
      .split('\n')
      .find((line) => line.startsWith(`${name}: `))
      ?.slice(name.length + 2);
  const event = field('event');
  return event === undefined ? undefined : ({ event, data: JSON.parse(field('data') ?? '') } as LogEvent);
}
