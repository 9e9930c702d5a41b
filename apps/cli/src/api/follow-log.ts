import { setTimeout as delay } from 'node:timers/promises';
import { type LogEvent, type LogEventName, logEventSchemas } from '@kiln/protocol';
import { ApiRefusal, CliError, Unreachable } from '../errors.ts';
import { type Client, describeFailure, parseJson, segment } from './client.ts';
import { readEvents } from './event-stream.ts';

export interface FollowOptions {
  /** Stay until the job ends; otherwise end with what has been logged so far. */
  follow: boolean;
  attempt?: number | undefined;
  interrupted: AbortSignal;
  /** Told once each time the stream breaks, and once when it goes on. */
  onBroken?: (message: string) => void;
  onResumed?: () => void;
  /** How long an instance may be away before following ends with its error. */
  giveUpSeconds?: number;
}

/** The stream carries a comment each 15 s; twice that and a little more without a byte means that it is dead. */
const silenceSeconds = 40;

/**
 * The log of a job as it grows, up to and including its `end` event. A broken stream is taken up again where it broke
 * (`Last-Event-ID`), also across a restart of the instance, so that every byte is seen once.
 */
export async function* followLog(
  client: Client,
  jobId: number,
  options: FollowOptions,
): AsyncGenerator<LogEvent> {
  const query = new URLSearchParams();
  if (options.follow) query.set('follow', '1');
  if (options.attempt !== undefined) query.set('attempt', String(options.attempt));
  const path = `/.api/jobs/${segment(jobId)}/log${query.size > 0 ? `?${query}` : ''}`;
  const giveUpMs = (options.giveUpSeconds ?? 600) * 1000;
  let lastEventId = '';
  let brokenSince: number | undefined;

  for (let tries = 0; ; tries++) {
    let failure: CliError;
    try {
      for await (const { event, data, id } of connect(client, path, lastEventId, options.interrupted)) {
        lastEventId = id;
        tries = 0;
        if (brokenSince !== undefined) options.onResumed?.();
        brokenSince = undefined;
        const parsed = parseEvent(event, data);
        if (parsed) yield parsed;
        if (parsed?.event === 'end') return;
      }
      if (!options.follow) return;
      failure = new Unreachable(`${client.connection.url} closed the log of job ${jobId} before its end`);
    } catch (error) {
      failure = describeFailure(error, client.connection, options.interrupted);
      if (!(failure instanceof Unreachable) && !isBusy(failure)) throw failure;
    }
    const now = performance.now();
    if (brokenSince === undefined) options.onBroken?.(failure.message);
    brokenSince ??= now;
    if (now - brokenSince > giveUpMs) throw failure;
    const pauseMs = Math.min(5000, 250 * 2 ** Math.min(tries, 5)) * (0.5 + Math.random() / 2);
    await delay(pauseMs, undefined, { signal: options.interrupted }).catch((error: unknown) => {
      throw describeFailure(error, client.connection, options.interrupted);
    });
  }
}

async function* connect(client: Client, path: string, lastEventId: string, interrupted: AbortSignal) {
  const silence = new AbortController();
  const headers: Record<string, string> = { accept: 'text/event-stream' };
  if (lastEventId !== '') headers['last-event-id'] = lastEventId;
  const response = await client.open(path, headers, silence.signal);
  if (!response.headers.get('content-type')?.startsWith('text/event-stream') || !response.body) {
    await response.body?.cancel();
    throw new CliError(`${client.connection.url} does not offer the log as a stream of events`, {
      hint: 'KILN_URL must be the address of the instance, and a proxy in front of it must pass text/event-stream',
    });
  }
  const body = response.body;
  const alarm = setTimeout(
    () => silence.abort(new DOMException(`nothing came for ${silenceSeconds} s`, 'TimeoutError')),
    silenceSeconds * 1000,
  );
  try {
    yield* readEvents(
      (async function* () {
        for await (const chunk of body) {
          alarm.refresh();
          yield chunk;
        }
      })(),
    );
  } finally {
    clearTimeout(alarm);
    if (!interrupted.aborted) silence.abort();
  }
}

/** An event of a newer instance that this program does not know is passed over. */
function parseEvent(event: string, data: string): LogEvent | undefined {
  if (!Object.hasOwn(logEventSchemas, event)) return undefined;
  const name = event as LogEventName;
  const parsed = logEventSchemas[name].safeParse(parseJson(data));
  if (!parsed.success) {
    throw new CliError(`the log sent an event ${JSON.stringify(event)} that this kiln does not understand`, {
      hint: 'the instance may be newer than this program: `kiln --version`',
      cause: parsed.error,
    });
  }
  return { event: name, data: parsed.data } as LogEvent;
}

function isBusy(failure: CliError): boolean {
  return failure instanceof ApiRefusal && (failure.status === 429 || failure.status >= 500);
}
