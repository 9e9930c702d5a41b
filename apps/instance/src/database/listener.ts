import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Logger } from 'pino';
import type { Connection } from './connections.ts';
import { messageOf } from './errors.ts';

export interface Listener extends AsyncDisposable {
  listen(channel: string, onPayload: (payload: string) => void, onGap: () => void): Promise<AsyncDisposable>;
}

interface Subscription {
  channel: string;
  onPayload: (payload: string) => void;
  onGap: () => void;
}

const connectTimeoutMilliseconds = 5000;
/** A network that drops packets closes nothing: the connection is asked for a sign of life this often. */
const probeIntervalMilliseconds = 10_000;
const probeTimeoutMilliseconds = 5000;
const maxPauseMilliseconds = 1000;

/** One connection for all `LISTEN`s of this process, opened with the first and kept alive until disposed. */
export function createListener(connection: Connection, log: Logger): Listener {
  const subscriptions = new Set<Subscription>();
  const closing = new AbortController();
  let client: pg.Client | undefined;
  let maintaining: Promise<void> | undefined;
  /** Callers of `listen` whose channel waits for a connection. */
  let waiting: (() => void)[] = [];

  return {
    async listen(channel, onPayload, onGap) {
      const subscription: Subscription = { channel, onPayload, onGap };
      const first = ![...subscriptions].some((other) => other.channel === channel);
      subscriptions.add(subscription);
      maintaining ??= maintain();
      // A connection that breaks meanwhile listens to every subscription when it is back.
      if (!client) await new Promise<void>((resolve) => waiting.push(resolve));
      else if (first) await client.query(`listen ${pg.escapeIdentifier(channel)}`).catch(() => undefined);
      return {
        async [Symbol.asyncDispose]() {
          subscriptions.delete(subscription);
          const last = ![...subscriptions].some((other) => other.channel === channel);
          if (last && client)
            await client.query(`unlisten ${pg.escapeIdentifier(channel)}`).catch(() => undefined);
        },
      };
    },
    async [Symbol.asyncDispose]() {
      closing.abort();
      await maintaining;
    },
  };

  async function maintain(): Promise<void> {
    let connectedBefore = false;
    let pause = 20;
    while (!closing.signal.aborted) {
      const candidate = new pg.Client({
        ...connection,
        application_name: 'kiln listener',
        connectionTimeoutMillis: connectTimeoutMilliseconds,
        query_timeout: probeTimeoutMilliseconds,
        keepAlive: true,
      });
      const ended = Promise.withResolvers<void>();
      candidate.on('error', (error) => {
        log.debug({ err: error }, 'the listening database connection reported an error');
        ended.resolve();
      });
      candidate.on('end', () => ended.resolve());
      candidate.on('notification', ({ channel, payload }) => {
        for (const subscription of subscriptions) {
          if (subscription.channel === channel) subscription.onPayload(payload ?? '');
        }
      });
      try {
        await candidate.connect();
        const channels = new Set([...subscriptions].map(({ channel }) => channel));
        client = candidate;
        for (const channel of channels) await candidate.query(`listen ${pg.escapeIdentifier(channel)}`);
        for (const resolve of waiting) resolve();
        waiting = [];
        if (connectedBefore) {
          log.info('listening to the database again');
          for (const { onGap } of [...subscriptions]) onGap();
        }
        connectedBefore = true;
        pause = 20;
        await watch(candidate, ended.promise);
      } catch (error) {
        log.debug({ err: error }, 'the database cannot be listened to');
      }
      client = undefined;
      await closeQuickly(candidate);
      if (closing.signal.aborted) break;
      if (pause === 20 && connectedBefore)
        log.warn('the connection that listens to the database was lost; connecting again');
      await sleep(pause, undefined, { signal: closing.signal }).catch(() => undefined);
      pause = Math.min(pause * 2, maxPauseMilliseconds);
    }
    for (const resolve of waiting) resolve();
    waiting = [];
  }

  /** Until the connection ends, does not answer, or the listener is closed. */
  async function watch(candidate: pg.Client, ended: Promise<void>): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      if (closing.signal.aborted) resolve();
      else closing.signal.addEventListener('abort', () => resolve(), { once: true });
    });
    const probing = new AbortController();
    const silent = probe(candidate, probing.signal);
    await Promise.race([ended, closed, silent]);
    probing.abort();
  }

  async function probe(candidate: pg.Client, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await sleep(probeIntervalMilliseconds, undefined, { signal, ref: false });
        await candidate.query('select 1');
      } catch (error) {
        if (!signal.aborted)
          log.debug({ reason: messageOf(error) }, 'the listening connection does not answer');
        return;
      }
    }
  }
}

/** `end` waits for the server's goodbye, which a dead server never says. */
async function closeQuickly(client: pg.Client): Promise<void> {
  const timeout = AbortSignal.timeout(1000);
  await Promise.race([
    client.end().catch(() => undefined),
    new Promise<void>((resolve) => timeout.addEventListener('abort', () => resolve(), { once: true })),
  ]);
}
