import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { Agent, type Dispatcher, EnvHttpProxyAgent, request } from 'undici';
import { RegistryError } from './registry-error.ts';

export interface Get {
  url: URL;
  method: 'GET' | 'HEAD';
  headers: Record<string, string>;
  signal: AbortSignal;
}

export type Response = Dispatcher.ResponseData;

/** HTTP as registries are spoken to: every silence has an end, and nothing is followed or decompressed on its own. */
export interface RegistryHttp extends AsyncDisposable {
  /** @throws RegistryError `unreachable`, or the signal's reason */
  send(get: Get): Promise<Response>;
}

const connectMilliseconds = 10_000;
/** Between two pieces of an answer, and before the first. */
const silenceMilliseconds = 60_000;

export function openRegistryHttp(): RegistryHttp {
  trustSystemCertificates();
  const timeouts = {
    connect: { timeout: connectMilliseconds },
    headersTimeout: silenceMilliseconds,
    bodyTimeout: silenceMilliseconds,
  };
  const outward = new EnvHttpProxyAgent(timeouts);
  // A proxy has another idea of what the loopback address is.
  const inward = new Agent(timeouts);
  return {
    async send({ url, method, headers, signal }) {
      signal.throwIfAborted();
      const dispatcher = isLoopback(url.hostname) ? inward : outward;
      try {
        return await request(url, {
          method,
          dispatcher,
          signal,
          headers: { 'user-agent': 'kiln-executor', ...headers },
        });
      } catch (error) {
        signal.throwIfAborted();
        throw new RegistryError('unreachable', `${url.host} cannot be reached: ${why(error)}`, error);
      }
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([outward.destroy(), inward.destroy()]);
    },
  };
}

export function isLoopback(hostname: string): boolean {
  return (
    hostname === 'localhost' ||
    hostname.endsWith('.localhost') ||
    hostname === '[::1]' ||
    /^127(?:\.\d{1,3}){3}$/.test(hostname)
  );
}

/** @returns what was read, or undefined when there is more */
export async function readAtMost(response: Response, maxBytes: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response.body as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Connection errors hide their cause in `code`, or in the errors of each address tried. */
export function why(cause: unknown): string {
  if (cause instanceof AggregateError && cause.errors.length > 0) return why(cause.errors[0]);
  return cause instanceof Error ? cause.message || String(Reflect.get(cause, 'code')) : String(cause);
}

let trusts = false;

/** A registry of one's own has a certificate of an authority that the machine knows, and Node does not. */
function trustSystemCertificates(): void {
  if (trusts) return;
  trusts = true;
  setDefaultCACertificates([...new Set([...getCACertificates('default'), ...getCACertificates('system')])]);
}
