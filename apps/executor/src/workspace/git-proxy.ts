import { randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import type { JobClient } from '../client/index.ts';

/** Names of the header by which our own git is known to the proxy. */
export const proxyKeyHeader = 'Kiln-Clone';

/**
 * A loopback HTTP server that lives while one job clones. It adds the job's credentials, so that git, its helpers and
 * its logs never see them, and passes nothing but reads of this job's repository.
 */
export interface GitProxy extends AsyncDisposable {
  /** The repository's address for git. */
  readonly remoteUrl: string;
  /** Sent by our git in {@link proxyKeyHeader}: other users of this machine can reach the port too. */
  readonly key: string;
  /** Whether the instance could not be reached, or asked to come later, since the last call of this. */
  takeTrouble(): boolean;
}

const forwardedRequestHeaders = [
  'accept',
  'accept-encoding',
  'accept-language',
  'content-type',
  'content-encoding',
  'git-protocol',
  'user-agent',
];
const forwardedResponseHeaders = ['content-type', 'content-encoding', 'cache-control', 'expires', 'pragma'];
/** The instance may have to fetch the commit from the code host first. */
const answerSeconds = 180;

export async function openGitProxy(
  client: Pick<JobClient, 'forward'>,
  repositoryName: string,
  signal: AbortSignal,
): Promise<GitProxy> {
  const key = randomBytes(24).toString('hex');
  const repositoryPath = `/${repositoryName.split('/').map(encodeURIComponent).join('/')}`;
  let trouble = false;

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      trouble = true;
      if (response.headersSent) response.destroy();
      else
        refuse(
          response,
          502,
          `the instance could not be reached: ${error instanceof Error ? error.message : String(error)}`,
        );
    });
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = allowedPath(request, repositoryPath);
    if (!sameKey(request.headers[proxyKeyHeader.toLowerCase()], key) || path === undefined) {
      refuse(response, 403, "only reads of this job's repository pass here");
      return;
    }
    const headers: Record<string, string> = {};
    for (const name of forwardedRequestHeaders) {
      const value = request.headers[name];
      if (typeof value === 'string') headers[name] = value;
    }
    const upstream = await client.forward(
      {
        method: request.method === 'POST' ? 'POST' : 'GET',
        path: `/.executors/git${path}`,
        headers,
        answerSeconds,
      },
      request.method === 'POST' ? request : undefined,
      signal,
    );
    const { statusCode } = upstream;
    if (statusCode === 429 || statusCode >= 500) trouble = true;
    // A 401 would make git ask for a name and a password.
    response.statusCode = statusCode === 401 ? 403 : statusCode;
    for (const name of forwardedResponseHeaders) {
      const value = upstream.headers[name];
      if (value !== undefined) response.setHeader(name, value);
    }
    await pipeline(upstream.body, response, { signal });
  }

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    remoteUrl: `http://127.0.0.1:${port}${repositoryPath}`,
    key,
    takeTrouble() {
      const had = trouble;
      trouble = false;
      return had;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** The two requests of a fetch over smart HTTP; anything else, and any other spelling of the path, is refused. */
function allowedPath(request: IncomingMessage, repositoryPath: string): string | undefined {
  const refs = `${repositoryPath}/info/refs?service=git-upload-pack`;
  const pack = `${repositoryPath}/git-upload-pack`;
  if (request.method === 'GET' && request.url === refs) return refs;
  return request.method === 'POST' && request.url === pack ? pack : undefined;
}

function sameKey(given: string | string[] | undefined, key: string): boolean {
  const bytes = Buffer.from(typeof given === 'string' ? given : '');
  return bytes.length === key.length && timingSafeEqual(bytes, Buffer.from(key));
}

function refuse(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8' });
  response.end(`${text}\n`);
}
