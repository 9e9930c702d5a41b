import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { gzipSync } from 'node:zlib';

/** Program behind `registry.ts`: speaks just enough of the registry protocol for pulls. Ends with its parent. */
const layer = execFileSync('tar', ['-cC', '/', '--transform=s,bin/busybox,bin/sh,', 'bin/busybox'], {
  maxBuffer: 64 * 1024 * 1024,
});
const compressed = gzipSync(layer);
const config = Buffer.from(
  JSON.stringify({
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    config: {},
    rootfs: { type: 'layers', diff_ids: [digestOf(layer)] },
  }),
);
const manifest = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    mediaType: 'application/vnd.docker.distribution.manifest.v2+json',
    config: {
      mediaType: 'application/vnd.docker.container.image.v1+json',
      size: config.length,
      digest: digestOf(config),
    },
    layers: [
      {
        mediaType: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
        size: compressed.length,
        digest: digestOf(compressed),
      },
    ],
  }),
);
const blobs = new Map([config, compressed].map((blob) => [digestOf(blob), blob]));
const password = `Basic ${Buffer.from('user:password').toString('base64')}`;
let throttled = 0;

const server = createServer((request, response) => {
  const path = request.url ?? '';
  const authorization = request.headers.authorization ?? '';
  const refuse = (status: number, code: string, message: string): void => {
    response.writeHead(status, {
      'content-type': 'application/json',
      'www-authenticate': 'Bearer realm="http://127.0.0.1:5000/token",service="test"',
    });
    response.end(JSON.stringify({ errors: [{ code, message }] }));
  };
  // As registries do it: tokens for all, with more rights for those who sign in.
  if (path.startsWith('/token')) {
    if (authorization === password) response.end('{"token": "user"}');
    else if (authorization === '') response.end('{"token": "anonymous"}');
    else refuse(401, 'UNAUTHORIZED', 'wrong user or password');
    return;
  }
  const token = authorization.replace('Bearer ', '');
  if (token === '') return refuse(401, 'UNAUTHORIZED', 'authentication required');
  if (path === '/v2/') return void response.end('{}');
  process.stdout.write(
    `${request.method} ${path.endsWith(digestOf(compressed)) ? 'layer' : path} ${token}\n`,
  );
  const [, name = '', kind, reference = ''] = /^\/v2\/(.+)\/(manifests|blobs)\/(.+)$/.exec(path) ?? [];
  if (name.startsWith('private/') && token !== 'user')
    return refuse(401, 'UNAUTHORIZED', 'authentication required');
  if (kind === 'manifests' && throttled > 0) {
    throttled -= 1;
    return refuse(429, 'TOOMANYREQUESTS', 'slow down, retry-after: 1s');
  }
  const body = kind === 'blobs' ? blobs.get(reference) : reference === 'none' ? undefined : manifest;
  if (!body) return refuse(404, kind === 'blobs' ? 'BLOB_UNKNOWN' : 'MANIFEST_UNKNOWN', 'manifest unknown');
  response.writeHead(200, {
    'content-type':
      kind === 'blobs' ? 'application/octet-stream' : 'application/vnd.docker.distribution.manifest.v2+json',
    'content-length': body.length,
    'docker-content-digest': digestOf(body),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
});
server.listen(5000, '127.0.0.1', () => process.stdout.write('ready\n'));
createInterface({ input: process.stdin })
  .on('line', (line) => {
    throttled = Number(line);
  })
  .on('close', () => process.exit());

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
