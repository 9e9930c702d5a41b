import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { RegisterRepository, RepositoryView } from '@kiln/protocol';
import type { Logger } from 'pino';
import { ApiError } from '../../api-error.ts';
import type { Database } from '../../database/index.ts';
import { parseCloneURL } from './clone-url.ts';
import { describeFetchFailure, fetchFailure } from './fetch-failure.ts';
import { createFetcher, type MirrorFetcher } from './fetcher.ts';
import { createGit, type GitEnvironment } from './git-process.ts';
import { createGitServer, type GitRequest, type GitResponse } from './git-server.ts';
import { defaultRepositoryLimits, type RepositoryLimits } from './limits.ts';
import { checkLocalSource, LocalSourceError } from './local-source.ts';
import { createMirror } from './mirror.ts';
import { createMirrorsDirectory } from './mirrors-directory.ts';
import { checkRepositoryName } from './repository-name.ts';
import { createRepositoryStore, type RepositoryRow } from './repository-store.ts';
import { checkRevision, isCommitId } from './revision.ts';
import { createSemaphore } from './semaphore.ts';
import { waitFor } from './wait.ts';

/** What a revision means at the moment. */
export interface ResolvedRevision {
  /** 40 lowercase hex characters. */
  commit: string;
  /** The name of the default branch where no revision was asked for, else what was asked for. */
  revision: string;
}

/** Repositories that jobs may use, each with a bare mirror in the data directory. */
export interface Repositories extends AsyncDisposable {
  /** Version of git. @throws ApiError 503 `git_missing`, `git_too_old` */
  gitVersion(): Promise<string>;
  /**
   * Stores a repository and starts its first fetch, without waiting for it.
   * @throws ApiError 400 for names and clone URLs that are refused, 409 `repository_exists`
   */
  register(repository: RegisterRepository): Promise<RepositoryView>;
  /** By name. */
  list(): Promise<RepositoryView[]>;
  /** @throws ApiError 404 `repository_not_found` */
  get(name: string): Promise<RepositoryView>;
  /** Also removes this instance's mirror; others sweep theirs. @throws ApiError 404 `repository_not_found` */
  remove(name: string): Promise<void>;
  /** Fetches now. @throws ApiError 404 `repository_not_found`, 502 `fetch_failed`, 503 `fetch_pending` */
  sync(name: string, signal?: AbortSignal): Promise<RepositoryView>;
  /**
   * The commit that a revision (default: HEAD) means now, which then stays in the mirror for a year. A whole commit
   * id that the mirror has needs no fetch; else the mirror is fetched first when it is older than 30 s or lacks it.
   * @throws ApiError 400 `invalid_revision`, 404 `repository_not_found` or `revision_not_found`, 502 `fetch_failed`,
   *   503 `fetch_pending` after 60 s (the fetch goes on)
   */
  resolve(name: string, revision?: string, signal?: AbortSignal): Promise<ResolvedRevision>;
  /** Read-only smart HTTP of one repository, see `GitRequest`. Never throws for what a client sends. */
  serveGit(request: GitRequest): Promise<GitResponse>;
}

export interface RepositoriesOptions {
  database: Database;
  /** The data directory of the instance, an absolute path; mirrors are in its `repositories`. */
  directory: string;
  log: Logger;
  limits?: Partial<RepositoryLimits>;
  /** What git is told of the environment: PATH, proxies, certificates. */
  environment?: GitEnvironment;
  /** Plain http clone URLs of other machines too. */
  allowPlainHTTP?: boolean;
  now?: () => Date;
}

export function createRepositories(options: RepositoriesOptions): Repositories {
  const {
    database,
    directory,
    log,
    environment = {},
    allowPlainHTTP = false,
    now = () => new Date(),
  } = options;
  const limits = { ...defaultRepositoryLimits, ...options.limits };
  const store = createRepositoryStore(database);
  const fetchers = new Map<number, MirrorFetcher>();
  const places = createSemaphore(limits.concurrentFetches);
  const disposed = new AbortController();
  const mirrors = createMirrorsDirectory({
    directory: join(directory, 'repositories'),
    stallSeconds: limits.stallSeconds,
    log,
    async keep() {
      return new Set((await store.list()).map(mirrorName));
    },
    async release(name) {
      await forget(Number(name.split('-')[0]));
    },
  });
  const git = createGit({ home: mirrors.home, configFile: mirrors.configFile, environment });
  const gitServer = createGitServer({
    git,
    limits,
    log,
    async find(name) {
      const row = await store.find(name);
      return row && fetcherOf(row);
    },
    describe: (err) => describeFetchFailure(err, mirrors.directory),
    now,
  });

  async function requireRow(name: string): Promise<RepositoryRow> {
    const row = await store.find(name);
    if (row) return row;
    throw notFound(name);
  }

  async function fetcherOf(row: RepositoryRow): Promise<MirrorFetcher> {
    await mirrors.prepare(git);
    disposed.signal.throwIfAborted();
    let fetcher = fetchers.get(row.id);
    if (!fetcher) {
      fetcher = createFetcher({
        mirror: createMirror({
          git,
          directory: join(mirrors.directory, mirrorName(row)),
          url: parseCloneURL(row.cloneURL, { allowPlainHTTP }),
          limits,
          dataDirectory: directory,
          now,
        }),
        places,
        log,
        now,
        onFetched: (state) => store.noteFetched(row.id, state),
        onFailed: (err) => noteFailed(row, err),
      });
      fetchers.set(row.id, fetcher);
    }
    return fetcher;
  }

  async function noteFailed(row: RepositoryRow, err: unknown): Promise<void> {
    const why = describeFetchFailure(err, mirrors.directory);
    if (why === undefined)
      log.error({ err, repository: row.name }, 'fetching a repository failed unexpectedly');
    else log.warn({ repository: row.name, why }, 'a repository could not be fetched');
    await store.noteFailed(row.id, why ?? 'an internal error; see the log of the instance');
  }

  /** Waits for a fetch within the limit of a request. */
  async function wait<Result>(
    row: RepositoryRow,
    fetch: Promise<Result>,
    signal: AbortSignal | undefined,
  ): Promise<Result> {
    try {
      return await waitFor(fetch, limits.waitSeconds, signal, () => pending(row.name));
    } catch (err) {
      throw fetchFailure(row.name, err, mirrors.directory);
    }
  }

  function pending(name: string): ApiError {
    return new ApiError(
      503,
      'fetch_pending',
      `Repository ${JSON.stringify(name)} is still being fetched after ${limits.waitSeconds} s`,
      'The fetch goes on; try again later.',
    );
  }

  async function forget(id: number): Promise<void> {
    const fetcher = fetchers.get(id);
    fetchers.delete(id);
    await fetcher?.[Symbol.asyncDispose]();
  }

  async function resolve(name: string, revision = 'HEAD', signal?: AbortSignal): Promise<ResolvedRevision> {
    checkRevision(revision);
    const row = await requireRow(name);
    const fetcher = await fetcherOf(row);
    const commit = isCommitId(revision)
      ? await findCommitById(row, fetcher, revision.toLowerCase(), signal)
      : await findCommitByName(row, fetcher, revision, signal);
    if (commit === undefined) throw revisionNotFound(name, revision);
    await fetcher.mirror.keepCommit(commit);
    const named = revision === 'HEAD' ? ((await store.find(name))?.defaultBranch ?? revision) : revision;
    return { commit, revision: named };
  }

  async function findCommitById(
    row: RepositoryRow,
    fetcher: MirrorFetcher,
    id: string,
    signal: AbortSignal | undefined,
  ): Promise<string | undefined> {
    const { mirror } = fetcher;
    if (!(await mirror.exists())) {
      await wait(row, fetcher.fetch(), signal);
    }
    let commit = await mirror.findCommit(id);
    if (commit !== undefined) return commit;
    // The one object costs less than everything that happened since, but not every server gives it out.
    if (!(await wait(row, fetcher.fetchObject(id), signal))) await wait(row, fetcher.fetch(), signal);
    commit = await mirror.findCommit(id);
    return commit;
  }

  async function findCommitByName(
    row: RepositoryRow,
    fetcher: MirrorFetcher,
    revision: string,
    signal: AbortSignal | undefined,
  ): Promise<string | undefined> {
    const { mirror } = fetcher;
    const askedAt = now().getTime();
    const fresh = (since: number) => fetcher.fetchedAt !== undefined && fetcher.fetchedAt >= since;
    if (!fresh(askedAt - limits.freshSeconds * 1000) || !(await mirror.exists())) {
      await wait(row, fetcher.fetch(), signal);
    }
    const commit = await mirror.findCommit(revision);
    // What was fetched began before the question: the revision may have been pushed in between.
    if (commit !== undefined || fresh(askedAt)) return commit;
    await wait(row, fetcher.fetch(), signal);
    return mirror.findCommit(revision);
  }

  return {
    async gitVersion() {
      return mirrors.prepare(git);
    },
    async register({ name, cloneURL }) {
      checkRepositoryName(name);
      const url = parseCloneURL(cloneURL, { allowPlainHTTP });
      await mirrors.prepare(git);
      if (url.protocol === 'file') await requireLocalSource(url.address, directory);
      const row = await store.insert(name, url.address);
      if (!row) {
        throw new ApiError(
          409,
          'repository_exists',
          `A repository named ${JSON.stringify(name)} is already registered`,
          'Remove it first to change its clone URL.',
        );
      }
      // Its outcome is noted on the row.
      (await fetcherOf(row)).fetch();
      return viewOf(row);
    },
    async list() {
      return (await store.list()).map(viewOf);
    },
    async get(name) {
      return viewOf(await requireRow(name));
    },
    async remove(name) {
      const row = await store.remove(name);
      if (!row) throw notFound(name);
      await forget(row.id);
      await mirrors.remove(mirrorName(row));
    },
    async sync(name, signal) {
      const row = await requireRow(name);
      const fetcher = await fetcherOf(row);
      await wait(row, fetcher.fetch(), signal);
      return viewOf(await requireRow(name));
    },
    resolve,
    serveGit: (request) => gitServer(request),
    async [Symbol.asyncDispose]() {
      disposed.abort(new Error('the instance is stopping'));
      await Promise.all([...fetchers.keys()].map(forget));
      await mirrors[Symbol.asyncDispose]();
    },
  };
}

/**
 * Name of a mirror's directory. The id makes it new when a name is registered again; the hash keeps a mirror from
 * being taken for another repository when the data directory meets a different database.
 */
function mirrorName(row: RepositoryRow): string {
  const hash = createHash('sha256').update(`${row.name}\n${row.cloneURL}`).digest('hex');
  return `${row.id}-${hash.slice(0, 16)}`;
}

async function requireLocalSource(path: string, dataDirectory: string): Promise<void> {
  try {
    await checkLocalSource(path, dataDirectory);
  } catch (err) {
    if (!(err instanceof LocalSourceError)) throw err;
    throw new ApiError(400, 'invalid_clone_url', `The clone URL cannot be used: ${err.message}`);
  }
}

function viewOf({ id: _id, ...row }: RepositoryRow): RepositoryView {
  return {
    ...row,
    lastFetchedAt: row.lastFetchedAt?.toISOString() ?? null,
    createdAt: row.createdAt.toISOString(),
  };
}

function notFound(name: string): ApiError {
  return new ApiError(
    404,
    'repository_not_found',
    `There is no repository named ${JSON.stringify(name)}`,
    'A site admin registers repositories: kiln repo add NAME CLONE-URL.',
  );
}

function revisionNotFound(name: string, revision: string): ApiError {
  return new ApiError(
    404,
    'revision_not_found',
    `Repository ${JSON.stringify(name)} has no revision ${JSON.stringify(revision)}`,
    'Use a branch, a tag or a commit id that is on its server.',
  );
}
