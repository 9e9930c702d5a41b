import { once } from 'node:events';
import { PassThrough, pipeline, Readable } from 'node:stream';
import type { Logger } from 'pino';
import { ApiError } from '../../api-error.ts';
import type { MirrorFetcher } from './fetcher.ts';
import { cleanGitText, collectTail, type Git, type GitChild, killGroup } from './git-process.ts';
import type { RepositoryLimits } from './limits.ts';
import { flushPacket, pktLine, readWants } from './pkt-line.ts';
import { RequestBodyError, readBody } from './request-body.ts';
import { createSemaphore } from './semaphore.ts';
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
 * Serves mirrors by git's smart HTTP, read only (reference section 1.10). A mirror or a commit that is missing here
 * is fetched first: another instance may have resolved it.
 * @throws the signal's reason when the client is gone; nothing for what a client sends
 */
export function createGitServer(options: GitServerOptions): (request: GitRequest) => Promise<GitResponse> {
  const { git, limits, log, now } = options;
  const places = createSemaphore(limits.concurrentUploads);
  /** Objects that a source did not have, and when: a client that insists costs no fetch each time. */
  const missed = new Map<string, number>();

  async function respond(request: GitRequest): Promise<GitResponse> {
    const service = new URLSearchParams(request.query).get('service');
    if (service !== null && service !== 'git-upload-pack') {
      return text(400, 'only support service git-upload-pack');
    }
    const fetcher = await options.find(request.repositoryName);
    if (!fetcher) return text(404, 'repository not found');
    const { mirror } = fetcher;
    if (request.path === 'info/refs') {
      if (!(await mirror.exists())) await waitForClient(fetcher.fetch(), request.signal);
      return serve(request, mirror.directory, ['--http-backend-info-refs'], Buffer.alloc(0));
    }

    const body = await readBody(request.body, {
      encoding: single(request.headers['content-encoding']),
      maxBytes: limits.maxRequestBytes,
      signal: request.signal,
    });
    try {
      if (!(await mirror.exists())) await waitForClient(fetcher.fetch(), request.signal);
      await fetchMissing(fetcher, readWants(body, maxCheckedWants), request.signal);
    } catch (err) {
      const why = options.describe(err);
      if (why === undefined) throw err;
      // git shows the text of an error packet to people, and of a failed request only its status.
      const message = `repository ${request.repositoryName} could not be fetched: ${why.replaceAll('\n', ' ')}`;
      return {
        status: 200,
        headers: headersOf('application/x-git-upload-pack-result'),
        body: Readable.from([Buffer.from(pktLine(`ERR ${message}`))]),
      };
    }
    return serve(request, mirror.directory, [], body);
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

  async function serve(
    request: GitRequest,
    directory: string,
    args: string[],
    input: Buffer,
  ): Promise<GitResponse> {
    const { signal } = request;
    const place = await places.enter(signal);
    let child: GitChild;
    try {
      child = git.start({
        args: ['upload-pack', '--strict', '--stateless-rpc', ...args, '--', directory],
        gitProtocol: readGitProtocol(single(request.headers['git-protocol'])),
      });
    } catch (err) {
      place[Symbol.dispose]();
      throw err;
    }
    const errors = collectTail(child.stderr, 4096);
    const kill = () => void killGroup(child);
    const deadline = setTimeout(kill, limits.uploadSeconds * 1000);
    signal.addEventListener('abort', kill, { once: true });
    const closed = once(child, 'close').finally(() => {
      clearTimeout(deadline);
      signal.removeEventListener('abort', kill);
      place[Symbol.dispose]();
    });
    // git may end before it has read everything; its exit code tells why.
    child.stdin.on('error', () => {});
    child.stdin.end(input);

    const isAdvertisement = request.path === 'info/refs';
    const headers = headersOf(
      `application/x-git-upload-pack-${isAdvertisement ? 'advertisement' : 'result'}`,
    );
    await Promise.race([once(child.stdout, 'readable'), closed]);
    if (child.stdout.readableLength === 0) {
      child.stdout.resume();
      const [code] = await closed;
      signal.throwIfAborted();
      // A lone flush asks for nothing, and gets nothing; git clients probe with one.
      if (code === 0) return { status: 200, headers, body: Readable.from([]) };
      log.error(
        { repository: request.repositoryName, code, said: cleanGitText(errors()) },
        'git upload-pack failed before it said anything',
      );
      return text(500, 'the repository cannot be read; see the log of the instance');
    }
    closed.then(([code]) => {
      if (code === 0 || signal.aborted) return;
      log.info(
        { repository: request.repositoryName, code, said: cleanGitText(errors()) },
        'git upload-pack did not end well',
      );
    }, kill);

    const body = new PassThrough();
    if (isAdvertisement) body.write(pktLine('# service=git-upload-pack\n') + flushPacket);
    // Also when the reader of the body stops reading.
    pipeline(child.stdout, body, (err) => err && kill());
    return { status: 200, headers, body };
  }

  return async (request) => {
    try {
      return await respond(request);
    } catch (err) {
      if (request.signal.aborted) throw request.signal.reason;
      if (err instanceof RequestBodyError) return text(err.status, err.message);
      const why = options.describe(err);
      if (why !== undefined) return text(502, `the repository could not be fetched: ${why}`);
      throw err;
    }
  };
}

/** What git takes from `Git-Protocol`: `version=2`, perhaps with more keys. Anything else is as good as absent. */
function readGitProtocol(header: string | undefined): string | undefined {
  return header !== undefined && /^[a-z0-9=:._-]{1,200}$/i.test(header) ? header : undefined;
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
