import { createWriteStream } from 'node:fs';
import { chmod, mkdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { EnvHttpProxyAgent, fetch } from 'undici';
import { trustSystemCertificates } from '../client/index.ts';
import { readSomeSettings, thisHost } from '../env/index.ts';
import type { CommandSurroundings } from './surroundings.ts';

const answerSeconds = 30;
const downloadSeconds = 600;
// The program is a tenth of this.
const mostBytes = 500 * 1024 * 1024;

/**
 * Gets the program `src` from the instance, which has the version that fits it. An instance that has none, or does not
 * answer, is a notice and no mistake: few executors need the program.
 */
export async function installSrcCli(
  { env, out }: CommandSurroundings,
  binDirectory: string,
  signal: AbortSignal,
): Promise<void> {
  if ((env['EXECUTOR_FRONTEND_URL'] ?? '') === '') {
    out('src-cli: not installed; EXECUTOR_FRONTEND_URL, the instance to get it from, is not set\n');
    return;
  }
  const { frontendUrl } = readSomeSettings(['frontendUrl'], env, thisHost(env));
  if (frontendUrl.protocol === 'https:') trustSystemCertificates();
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
  const address = new URL(
    `${frontendUrl.pathname.replace(/\/+$/, '')}/.api/src-cli/src_${process.platform}_${architecture}`,
    frontendUrl,
  );
  const dispatcher = new EnvHttpProxyAgent();
  await using _closing = { [Symbol.asyncDispose]: () => dispatcher.destroy() };
  const answer = await get(address, dispatcher, signal);
  if (typeof answer === 'string') {
    out(`src-cli: not installed; ${answer}\n`);
    return;
  }
  const target = path.join(binDirectory, 'src');
  const temporary = path.join(binDirectory, `.src-${process.pid}`);
  await mkdir(binDirectory, { recursive: true });
  try {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(downloadSeconds * 1000)]);
    await pipeline(Readable.fromWeb(answer), atMost(mostBytes), createWriteStream(temporary), {
      signal: limit,
    });
    await chmod(temporary, 0o755);
    await rename(temporary, target);
  } finally {
    await rm(temporary, { force: true });
  }
  out(`src-cli: installed ${target} from ${frontendUrl.origin}\n`);
}

type Body = Parameters<typeof Readable.fromWeb>[0];

/** @returns the program, or why there is none */
async function get(address: URL, dispatcher: EnvHttpProxyAgent, signal: AbortSignal): Promise<Body | string> {
  const begin = new AbortController();
  const late = setTimeout(
    () => begin.abort(new Error(`no answer within ${answerSeconds} s`)),
    answerSeconds * 1000,
  );
  try {
    const response = await fetch(address, { dispatcher, signal: AbortSignal.any([signal, begin.signal]) });
    const isProgram = response.ok && !/^text\/|json/.test(response.headers.get('content-type') ?? '');
    if (isProgram && response.body !== null) return response.body as Body;
    await response.body?.cancel();
    return `the instance has none (${address.pathname} answers with status ${response.status})`;
  } catch (error) {
    signal.throwIfAborted();
    const cause = (error as Error).cause ?? error;
    return `the instance at ${address.origin} does not answer: ${cause instanceof Error ? cause.message : String(cause)}`;
  } finally {
    clearTimeout(late);
  }
}

function atMost(bytes: number) {
  return async function* (source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    let seen = 0;
    for await (const chunk of source) {
      seen += chunk.length;
      if (seen > bytes) throw new Error(`the program has more than ${bytes} bytes`);
      yield chunk;
    }
  };
}
