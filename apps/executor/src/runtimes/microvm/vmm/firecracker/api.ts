import { request as httpRequest, type RequestOptions } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { z } from 'zod';
import { VmError } from '../vmm.ts';

/** One call of Firecracker's API. */
export interface ApiRequest {
  method: 'PUT' | 'PATCH';
  path: string;
  body: Readonly<Record<string, unknown>>;
}

export interface FirecrackerApi {
  /** @throws VmError with what Firecracker said, or when it does not answer in time */
  send(request: ApiRequest): Promise<void>;
}

/** Answers are empty, or one line about a mistake. */
const maxAnswerBytes = 64 * 1024;
const answerSeconds = 30;
const socketSeconds = 30;
const pollMilliseconds = 10;
const done = 204;

const faultSchema = z.object({ fault_message: z.string() });

/**
 * Waits until Firecracker listens.
 * @param gone aborts when its process has ended
 * @throws VmError when it does not come up; the reason of `gone`
 */
export async function connectApi(socketPath: string, gone: AbortSignal): Promise<FirecrackerApi> {
  const begin = performance.now();
  // An answer to anything, a refusal too, shows that somebody listens.
  while (!(await answers(socketPath))) {
    gone.throwIfAborted();
    if (performance.now() - begin > socketSeconds * 1000)
      throw new VmError(`Firecracker did not listen within ${socketSeconds} s`);
    await pause(pollMilliseconds);
  }
  return { send: (call) => send(socketPath, call, gone) };
}

async function answers(socketPath: string): Promise<boolean> {
  try {
    await exchange({ socketPath, method: 'GET', path: '/' }, '', AbortSignal.timeout(answerSeconds * 1000));
    return true;
  } catch {
    return false;
  }
}

async function send(
  socketPath: string,
  { method, path, body }: ApiRequest,
  gone: AbortSignal,
): Promise<void> {
  const deadline = AbortSignal.timeout(answerSeconds * 1000);
  const what = `${method} ${path}`;
  let answer: { status: number; text: string };
  try {
    answer = await exchange(
      { socketPath, method, path },
      JSON.stringify(body),
      AbortSignal.any([deadline, gone]),
    );
  } catch (error) {
    gone.throwIfAborted();
    if (deadline.aborted) throw new VmError(`Firecracker did not answer ${what} within ${answerSeconds} s`);
    throw new VmError(`Firecracker: ${what}: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (answer.status === done) return;
  throw new VmError(`Firecracker refused ${what} (${answer.status}): ${faultText(answer.text)}`);
}

function exchange(
  options: Pick<RequestOptions, 'socketPath' | 'method' | 'path'>,
  body: string,
  signal: AbortSignal,
): Promise<{ status: number; text: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
  const headers = {
    Accept: 'application/json',
    ...(body === '' ? {} : { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) }),
  };
  const outgoing = httpRequest({ ...options, headers, agent: false, signal }, (incoming) => {
    let text = '';
    incoming.setEncoding('utf8');
    incoming.on('data', (piece: string) => {
      text += piece;
      if (text.length > maxAnswerBytes) incoming.destroy(new Error('the answer has no end'));
    });
    incoming.on('end', () => resolve({ status: incoming.statusCode ?? 0, text }));
    incoming.on('error', reject);
  });
  outgoing.on('error', reject);
  outgoing.end(body);
  return promise;
}

/** Of a process that the guest may have taken over: bounded, one line. */
function faultText(text: string): string {
  let said = text;
  try {
    said = faultSchema.parse(JSON.parse(text)).fault_message;
  } catch {
    // Not of its usual form: quoted as it is.
  }
  return said.replace(/\s+/g, ' ').trim().slice(0, 500);
}
