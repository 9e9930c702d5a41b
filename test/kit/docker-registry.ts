import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { request } from 'undici';
import { forwardPort } from './forwarded-port.ts';
import type { Blob, MadeImage } from './made-images.ts';

/** What the way to the registry does with what passes. */
export interface Behaviour {
  /** `basic`: the registry's own; `bearer`: tokens, for everybody or for who signs in; `open`: no questions. */
  auth: 'basic' | 'bearer' | 'open';
  /** The next so many requests are refused for their number, with this `Retry-After`. */
  throttle: { left: number; retryAfter: string };
  /** Sends whoever wants a blob to another address, as registries with a storage service do. */
  redirectBlobs: boolean;
  /** Changes what goes to the client: status, headers, body. */
  tamper: ((path: string, body: Buffer) => Buffer) | undefined;
  /** The next so many blobs break off in the middle. */
  breakOff: number;
  /** Called with each request before it is answered. */
  before: ((path: string) => Promise<void>) | undefined;
}

export interface Request {
  method: string;
  path: string;
  authorization: string | undefined;
  /** Whether it came to the storage service, by a redirect. */
  atStorage: boolean;
}

/** A registry program as people run it, for the users of {@link registryUsers}, behind a way that counts and can misbehave. */
export interface DockerRegistry extends AsyncDisposable {
  /** Begins image references: `127.0.0.1:40000`. */
  host: string;
  behaviour: Behaviour;
  requests: Request[];
  /** Bytes of blobs that went to clients. */
  readonly blobBytes: number;
  push(name: string, tag: string, image: MadeImage): Promise<void>;
  pushManifest(name: string, tag: string, manifest: Blob): Promise<void>;
  /** From now on these users alone are known, as if the others' passwords had run out. */
  keepUsers(users: readonly RegistryUser[]): Promise<void>;
}

/** Each with the password `password`. */
export const registryUsers = ['user', 'secret', 'setting', 'owner', 'helper'] as const;
export type RegistryUser = (typeof registryUsers)[number];

/** Of `password`, by bcrypt; the registry takes no other kind. */
const passwordHash = '$2y$05$mc4mUftElPfqTAOTjKPhH.d5vdFU9YU5gfrLB53nXPAzbT1qpF7zi';
const basic = `Basic ${Buffer.from('user:password').toString('base64')}`;

/** @param networkNamespace from which it is reachable under the same address too */
export async function startDockerRegistry(networkNamespace?: string): Promise<DockerRegistry> {
  const directory = await mkdtemp(join(tmpdir(), 'registry-'));
  const port = await freePort();
  const keepUsers = (users: readonly RegistryUser[]): Promise<void> =>
    writeFile(join(directory, 'htpasswd'), users.map((user) => `${user}:${passwordHash}\n`).join(''));
  await keepUsers(registryUsers);
  await writeFile(
    join(directory, 'config.yml'),
    `version: 0.1
log: { level: error, accesslog: { disabled: true } }
storage: { filesystem: { rootdirectory: ${directory}/data }, delete: { enabled: true } }
http: { addr: "127.0.0.1:${port}", secret: test }
auth: { htpasswd: { realm: test, path: ${directory}/htpasswd } }
`,
  );
  const program = spawn('docker-registry', ['serve', join(directory, 'config.yml')], {
    stdio: ['ignore', 'ignore', 'ignore'],
    env: { PATH: process.env['PATH'], OTEL_TRACES_EXPORTER: 'none' },
  });
  const exited = once(program, 'exit');
  const upstream = `http://127.0.0.1:${port}`;
  await untilAnswers(upstream, exited);

  const behaviour: Behaviour = {
    auth: 'basic',
    throttle: { left: 0, retryAfter: '1' },
    redirectBlobs: false,
    tamper: undefined,
    breakOff: 0,
    before: undefined,
  };
  const requests: Request[] = [];
  let blobBytes = 0;
  const way = createServer((incoming, outgoing) => void pass(incoming, outgoing, false));
  const storage = createServer((incoming, outgoing) => void pass(incoming, outgoing, true));
  const [wayPort, storagePort] = [await listen(way), await listen(storage)];
  const forwarded = networkNamespace === undefined ? undefined : await forwardPort(networkNamespace, wayPort);

  async function pass(
    incoming: IncomingMessage,
    outgoing: ServerResponse,
    atStorage: boolean,
  ): Promise<void> {
    const path = incoming.url ?? '';
    const { authorization } = incoming.headers;
    requests.push({ method: incoming.method ?? '', path, authorization, atStorage });
    const answer = (status: number, headers: Record<string, string>, body = ''): void => {
      outgoing.writeHead(status, headers).end(body);
    };
    await behaviour.before?.(path);
    const isToken = path.startsWith('/token');
    if (!isToken && behaviour.throttle.left > 0) {
      behaviour.throttle.left--;
      return answer(429, { 'retry-after': behaviour.throttle.retryAfter });
    }
    if (isToken) {
      if (authorization !== undefined && authorization !== basic) return answer(401, {});
      return answer(200, {}, JSON.stringify({ token: authorization === basic ? 'user' : 'anonymous' }));
    }
    if (behaviour.auth === 'bearer' && !atStorage) {
      const realm = `http://127.0.0.1:${wayPort}/token`;
      const challenge = { 'www-authenticate': `Bearer realm="${realm}",service="test",scope="ignored"` };
      if (!authorization?.startsWith('Bearer ')) return answer(401, challenge);
      if (path.includes('/private/') && authorization !== 'Bearer user') return answer(401, challenge);
    }
    const isBlob = path.includes('/blobs/');
    if (isBlob && behaviour.redirectBlobs && !atStorage)
      return answer(307, { location: `http://127.0.0.1:${storagePort}${path}` });
    const asked = behaviour.auth === 'basic' && !atStorage ? authorization : basic;
    const { statusCode, headers, body } = await request(`${upstream}${path}`, {
      method: incoming.method === 'HEAD' ? 'HEAD' : 'GET',
      headers: {
        accept: incoming.headers.accept ?? '*/*',
        ...(asked === undefined ? {} : { authorization: asked }),
      },
    });
    const received = Buffer.from(await body.arrayBuffer());
    const sent = statusCode === 200 && behaviour.tamper ? behaviour.tamper(path, received) : received;
    const kept = ['content-type', 'docker-content-digest', 'www-authenticate'].flatMap((name) =>
      headers[name] === undefined ? [] : [[name, String(headers[name])]],
    );
    const length = incoming.method === 'HEAD' ? (headers['content-length'] ?? 0) : sent.length;
    outgoing.writeHead(statusCode, { ...Object.fromEntries(kept), 'content-length': String(length) });
    if (isBlob && behaviour.breakOff > 0) {
      behaviour.breakOff--;
      outgoing.write(sent.subarray(0, sent.length / 2), () => outgoing.destroy());
      return;
    }
    if (isBlob && statusCode === 200) blobBytes += sent.length;
    outgoing.end(incoming.method === 'HEAD' ? undefined : sent);
  }

  async function pushBlob(name: string, blob: Blob): Promise<void> {
    const begun = await request(`${upstream}/v2/${name}/blobs/uploads/`, {
      method: 'POST',
      headers: { authorization: basic },
    });
    await begun.body.dump();
    const location = new URL(String(begun.headers['location']));
    location.searchParams.set('digest', blob.digest);
    await put(location.href, 'application/octet-stream', blob.bytes);
  }

  async function pushManifest(name: string, tag: string, manifest: Blob): Promise<void> {
    await put(`${upstream}/v2/${name}/manifests/${tag}`, manifest.mediaType, manifest.bytes);
  }

  return {
    host: `127.0.0.1:${wayPort}`,
    behaviour,
    requests,
    get blobBytes() {
      return blobBytes;
    },
    async push(name, tag, image) {
      for (const blob of [image.config, ...image.layers]) await pushBlob(name, blob);
      await pushManifest(name, tag, image.manifest);
    },
    pushManifest,
    keepUsers,
    async [Symbol.asyncDispose]() {
      await forwarded?.[Symbol.asyncDispose]();
      for (const server of [way, storage]) {
        server.closeAllConnections();
        server.close();
      }
      program.kill('SIGKILL');
      await exited;
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function put(url: string, mediaType: string, bytes: Buffer): Promise<void> {
  const { statusCode, body } = await request(url, {
    method: 'PUT',
    headers: { authorization: basic, 'content-type': mediaType },
    body: bytes,
  });
  const text = await body.text();
  if (statusCode !== 201) throw new Error(`PUT ${url}: ${statusCode} ${text}`);
}

async function listen(server: ReturnType<typeof createServer>): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function freePort(): Promise<number> {
  const server = createServer();
  const port = await listen(server);
  server.close();
  await once(server, 'close');
  return port;
}

async function untilAnswers(url: string, exited: Promise<unknown>): Promise<void> {
  let hasExited = false;
  void exited.then(() => {
    hasExited = true;
  });
  for (const end = performance.now() + 30_000; ; ) {
    try {
      const { body } = await request(`${url}/v2/`);
      await body.dump();
      return;
    } catch (error) {
      if (hasExited || performance.now() > end)
        throw new Error('docker-registry does not start; it is in the package docker-registry', {
          cause: error,
        });
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
