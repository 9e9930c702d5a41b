import { request } from 'node:http';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

const deadlineSeconds = 120;

/**
 * One call of Docker's Engine API over its Unix socket.
 * @param call.body sent as a tar archive
 */
export async function askEngine(
  socketPath: string,
  call: { method: string; path: string; body?: Readable },
): Promise<{ status: number; text: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
  const sent = request(
    {
      socketPath,
      method: call.method,
      path: call.path,
      headers: { host: 'docker', ...(call.body ? { 'content-type': 'application/x-tar' } : {}) },
      signal: AbortSignal.timeout(deadlineSeconds * 1000),
    },
    (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      answer.on('error', reject);
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text }));
    },
  );
  sent.on('error', reject);
  if (call.body) pipeline(call.body, sent).catch(reject);
  else sent.end();
  return promise;
}
