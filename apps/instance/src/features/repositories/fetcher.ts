import type { Logger } from 'pino';
import { ApiError } from '../../api-error.ts';
import type { FetchedState, Mirror } from './mirror.ts';
import { createSemaphore } from './semaphore.ts';

/** Keeps one mirror up to date: at most one fetch at a time, shared by all who want it. */
export interface MirrorFetcher extends AsyncDisposable {
  readonly mirror: Mirror;
  /** When the last successful fetch began, in milliseconds; undefined before the first of this process. */
  readonly fetchedAt: number | undefined;
  /** Joins the running fetch, or starts one. It goes on when the caller stops waiting. */
  fetch(): Promise<FetchedState>;
  /** Fetches one object by id, after the running fetch. Callers of the same id share it. */
  fetchObject(id: string): Promise<boolean>;
}

export interface FetcherOptions {
  mirror: Mirror;
  /** Shared by all mirrors. */
  places: ReturnType<typeof createSemaphore>;
  log: Logger;
  now: () => Date;
  /** Told of the end of each fetch before its waiters are. */
  onFetched: (state: FetchedState) => Promise<void>;
  onFailed: (err: unknown) => Promise<void>;
}

export function createFetcher(options: FetcherOptions): MirrorFetcher {
  const { mirror, places, log, now } = options;
  const stop = new AbortController();
  /** One writer to the mirror at a time. */
  const turn = createSemaphore(1);
  let flight: Promise<FetchedState> | undefined;
  const objectFlights = new Map<string, Promise<boolean>>();
  let maintenance: Promise<void> | undefined;
  let fetchedAt: number | undefined;

  async function runFetch(): Promise<FetchedState> {
    try {
      using _turn = await turn.enter(stop.signal);
      using _place = await places.enter(stop.signal);
      const startedAt = now().getTime();
      const state = await mirror.fetch(stop.signal);
      fetchedAt = startedAt;
      await options.onFetched(state);
      maintenance ??= maintain();
      return state;
    } catch (err) {
      if (!stop.signal.aborted) await options.onFailed(err);
      throw err;
    }
  }

  async function runFetchObject(id: string): Promise<boolean> {
    using _turn = await turn.enter(stop.signal);
    using _place = await places.enter(stop.signal);
    return mirror.fetchObject(id, stop.signal);
  }

  async function maintain(): Promise<void> {
    try {
      await mirror.maintain(stop.signal);
    } catch (err) {
      if (!stop.signal.aborted) log.warn({ err, directory: mirror.directory }, 'could not repack a mirror');
    } finally {
      maintenance = undefined;
    }
  }

  return {
    mirror,
    get fetchedAt() {
      return fetchedAt;
    },
    fetch() {
      if (!flight) {
        flight = runFetch().finally(() => {
          flight = undefined;
        });
        // Nobody may be waiting any more when it fails; onFailed has noted it.
        flight.catch(() => undefined);
      }
      return flight;
    },
    fetchObject(id) {
      let running = objectFlights.get(id);
      if (!running) {
        running = runFetchObject(id).finally(() => objectFlights.delete(id));
        running.catch(() => undefined);
        objectFlights.set(id, running);
      }
      return running;
    },
    async [Symbol.asyncDispose]() {
      stop.abort(
        new ApiError(503, 'fetch_stopped', 'The repository was removed, or the instance is stopping'),
      );
      await Promise.allSettled([flight, ...objectFlights.values(), maintenance]);
    },
  };
}
