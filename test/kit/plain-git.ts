import { spawn } from 'node:child_process';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';

/**
 * Serves a bare repository over read-only smart HTTP, as a plain instance does (from the reference).
 * @param rest what follows the repository's name in the path, such as `/info/refs`
 */
export async function serveGit(
  directory: string,
  rest: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { searchParams } = new URL(request.url ?? '/', 'http://plain');
  const service = searchParams.get('service');
  if (service !== null && service !== 'git-upload-pack') {
    response.writeHead(400).end('only support service git-upload-pack\n');
    return;
  }
  const advertise = rest === '/info/refs';
  const kind = advertise ? 'advertisement' : 'result';
  response.writeHead(200, { 'Content-Type': `application/x-git-upload-pack-${kind}` });
  if (advertise) response.write('001e# service=git-upload-pack\n0000');
  const child = spawn(
    'git',
    [
      '-c',
      'uploadpack.allowFilter=true',
      '-c',
      'uploadpack.allowAnySHA1InWant=true',
      '-c',
      'safe.directory=*',
      'upload-pack',
      '--stateless-rpc',
      ...(advertise ? ['--advertise-refs'] : []),
      directory,
    ],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: {
        PATH: process.env['PATH'] ?? '',
        HOME: '/nonexistent',
        ...(typeof request.headers['git-protocol'] === 'string'
          ? { GIT_PROTOCOL: request.headers['git-protocol'] }
          : {}),
      },
    },
  );
  const body =
    request.headers['content-encoding'] === 'gzip'
      ? pipeline(request, createGunzip(), child.stdin)
      : pipeline(request, child.stdin);
  await Promise.all([body, pipeline(child.stdout, response)]);
}
