import { Readable } from 'node:stream';
import type { Logger } from 'pino';
import { ApiError } from '../../api-error.ts';
import type { MirrorFetcher } from './fetcher.ts';
import type { Git } from './git-process.ts';
import type { RepositoryLimits } from './limits.ts';
import { pktLine, readWants } from './pkt-line.ts';
import { RequestBodyError, readBody } from './request-body.ts';
import { createUploadPack, UploadPackError } from './upload-pack.ts';
import { waitFor } from './wait.ts';

/** A request of the git routes, whatever brought it. Whether the caller may read the repository is decided before. */
export interface GitRequest {
  repositoryName: string;
  path: 'info/refs' | 'git-upload-pack';
  /** As in the URL, without the "?". */
  query: string;
  /** Names in lower case, as Node gives them. */
  headers: Record<string, string | string[] | undefined>;
  /** Of `git-upload-pack`; not yet unpacked. */
  body: Readable;
  /** Aborts when the client is gone; ends the git process then. */
  signal: AbortSignal;
}

export interface GitResponse {
  status: number;
  headers: Record<string, string>;
  /** To be read to its end or destroyed. */
  body: Readable;
}

export interface GitServerOptions {
  git: Git;
  limits: RepositoryLimits;
  log: Logger;
  find: (name: string) => Promise<MirrorFetcher | undefined>;
  /** A fetch's error in words, or undefined when it was no error of fetching. */
  describe: (err: unknown) => string | undefined;
  now: () => Date;
}

/** Objects of one request that are looked up in the mirror. Jobs want one commit; partial clones thousands of blobs of it. */
const maxCheckedWants = 20;

/**
 * Serves mirrors by git's smart HTTP, read only (from the reference). A mirror or a commit that is missing here
 * is fetched first: another instance may have resolved it.
 * @throws the signal's reason when the client is gone; nothing for what a client sends
 */
export function createGitServer(options: GitServerOptions): (request: GitRequest) => Promise<GitResponse> {
  const { limits, log, now } = options;
  const uploadPack = createUploadPack(options);
  /** Objects that a source did not have, and when: a client that insists costs no fetch each time. */
  const missed = new Map<string, number>();

  async function respond(request: GitRequest): Promise<GitResponse> {
    const { signal } = request;
    const service = new URLSearchParams(request.query).get('service');
    if (service !== null && service !== 'git-upload-pack') {
      return text(400, 'only support service git-upload-pack');
    }
    const fetcher = await options.find(request.repositoryName);
    if (!fetcher) return text(404, 'repository not found');
    const { directory } = fetcher.mirror;
    const gitProtocol = single(request.headers['git-protocol']);
    if (request.path === 'info/refs') {
      await fetchFirst(fetcher, signal);
      const body = await uploadPack({ directory, input: null, gitProtocol, signal });
      return { status: 200, headers: headersOf('application/x-git-upload-pack-advertisement'), body };
    }

    const input = await readBody(request.body, {
      encoding: single(request.headers['content-encoding']),
      maxBytes: limits.maxRequestBytes,
      signal,
    });
    const headers = headersOf('application/x-git-upload-pack-result');
    try {
      await fetchFirst(fetcher, signal);
      await fetchMissing(fetcher, readWants(input, maxCheckedWants), signal);
    } catch (err) {
      const why = options.describe(err);
      if (why === undefined) throw err;
      // git shows the text of an error packet to people, and of a failed request only its status.
      const message = `repository ${request.repositoryName} could not be fetched: ${why.replaceAll('\n', ' ')}`;
      return { status: 200, headers, body: Readable.from([Buffer.from(pktLine(`ERR ${message}`))]) };
    }
    return { status: 200, headers, body: await uploadPack({ directory, input, gitProtocol, signal }) };
  }

  async function fetchFirst(fetcher: MirrorFetcher, signal: AbortSignal): Promise<void> {
    if (!(await fetcher.mirror.exists())) await waitForClient(fetcher.fetch(), signal);
  }

  async function fetchMissing(fetcher: MirrorFetcher, wants: string[], signal: AbortSignal): Promise<void> {
    if (wants.length === 0) return;
    const { mirror } = fetcher;
    const since = now().getTime() - limits.freshSeconds * 1000;
    const key = (id: string) => `${mirror.directory} ${id}`;
    const missing = (await mirror.missingObjects(wants)).filter((id) => (missed.get(key(id)) ?? 0) < since);
    if (missing.length === 0) return;
    let found = true;
    for (const id of missing) found = (await waitForClient(fetcher.fetchObject(id), signal)) && found;
    if (found) return;
    await waitForClient(fetcher.fetch(), signal);
    for (const id of await mirror.missingObjects(missing)) {
      if (missed.size > 1000) missed.clear();
      missed.set(key(id), now().getTime());
    }
  }

  /** The fetch has its own limit of time; the client may leave before. */
  function waitForClient<Result>(fetch: Promise<Result>, signal: AbortSignal): Promise<Result> {
    return waitFor(
      fetch,
      limits.fetchSeconds,
      signal,
      () => new ApiError(503, 'fetch_pending', 'the repository is still being fetched'),
    );
  }

  return async (request) => {
    try {
      return await respond(request);
    } catch (err) {
      if (request.signal.aborted) throw request.signal.reason;
      if (err instanceof RequestBodyError) return text(err.status, err.message);
      if (err instanceof UploadPackError) {
        log.error({ err, repository: request.repositoryName }, 'a mirror cannot be read');
        return text(500, 'the repository cannot be read; see the log of the instance');
      }
      const why = options.describe(err);
      if (why !== undefined) return text(502, `the repository could not be fetched: ${why}`);
      throw err;
    }
  };
}

function single(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}

function headersOf(contentType: string): Record<string, string> {
  return { 'content-type': contentType, 'cache-control': 'no-cache, no-store' };
}

function text(status: number, message: string): GitResponse {
  return {
    status,
    headers: headersOf('text/plain; charset=utf-8'),
    body: Readable.from([Buffer.from(`${message}\n`)]),
  };
}
