import { spawn } from 'node:child_process';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { testGitEnvironment } from './repository.ts';

export interface TestGitServer extends AsyncDisposable {
  /** Such as `http://127.0.0.1:4711`, without a slash at the end. */
  readonly url: string;
  /** `METHOD PATH?QUERY` of each request so far. */
  readonly requests: string[];
}

export interface GitServerOptions {
  /** Directory whose git repositories are served by `git http-backend`: `URL/NAME/.git` or `URL/NAME.git`. */
  root: string;
  /** Sees each request first; true: it has been (or will be) answered. */
  intercept?: (request: IncomingMessage, response: ServerResponse) => boolean;
}

/** A real git server on the loopback interface. */
export async function startGitServer({ root, intercept }: GitServerOptions): Promise<TestGitServer> {
  return listen(async (request, response) => {
    if (intercept?.(request, response)) return;
    await runHTTPBackend(root, request, response);
  });
}

/** The read-only git routes of an instance, as its server mounts them, for one repository each: `URL/NAME/info/refs`. */
export async function mountGit(
  serve: (request: {
    repositoryName: string;
    path: 'info/refs' | 'git-upload-pack';
    query: string;
    headers: IncomingMessage['headers'];
    body: Readable;
    signal: AbortSignal;
  }) => Promise<{ status: number; headers: Record<string, string>; body: Readable }>,
): Promise<TestGitServer> {
  return listen(async (request, response) => {
    const url = new URL(request.url ?? '/', 'http://localhost');
    const match = /^\/(.+)\/(info\/refs|git-upload-pack)$/.exec(url.pathname);
    if (match?.[1] === undefined) {
      response.writeHead(404).end();
      return;
    }
    const gone = new AbortController();
    response.once('close', () => gone.abort(new Error('the client is gone')));
    const answer = await serve({
      repositoryName: decodeURIComponent(match[1]),
      path: match[2] === 'info/refs' ? 'info/refs' : 'git-upload-pack',
      query: url.search.slice(1),
      headers: request.headers,
      body: request,
      signal: gone.signal,
    });
    response.writeHead(answer.status, answer.headers);
    await pipeline(answer.body, response);
  });
}

async function listen(
  handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>,
): Promise<TestGitServer> {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    handle(request, response).catch((err: unknown) => {
      // The client of a test that goes away on purpose; anything else shows as a broken answer.
      if (!response.headersSent && !response.destroyed) response.writeHead(500).end(String(err));
      else response.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** CGI: the answer is a header block, then the body. */
async function runHTTPBackend(
  root: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://localhost');
  const header = (name: string) => {
    const value = request.headers[name];
    return typeof value === 'string' ? value : undefined;
  };
  const child = spawn('git', ['-c', 'safe.directory=*', 'http-backend'], {
    env: {
      ...testGitEnvironment,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      PATH_INFO: decodeURIComponent(url.pathname),
      QUERY_STRING: url.search.slice(1),
      REQUEST_METHOD: request.method,
      CONTENT_TYPE: header('content-type'),
      CONTENT_LENGTH: header('content-length'),
      HTTP_CONTENT_ENCODING: header('content-encoding'),
      GIT_PROTOCOL: header('git-protocol'),
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  response.once('close', () => child.kill());
  child.stdin.on('error', () => {});
  request.pipe(child.stdin);
  let head = Buffer.alloc(0);
  for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
    if (response.headersSent) {
      if (!response.write(chunk)) await new Promise((resolve) => response.once('drain', resolve));
      continue;
    }
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf('\r\n\r\n');
    if (end < 0) continue;
    let status = 200;
    for (const line of head.toString('latin1', 0, end).split('\r\n')) {
      const [name = '', value = ''] = line.split(/: (.*)/);
      if (name === 'Status') status = Number.parseInt(value, 10);
      else response.setHeader(name, value);
    }
    response.writeHead(status);
    response.write(head.subarray(end + 4));
  }
  response.end();
}
