import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { setTimeout as wait } from 'node:timers/promises';
import type { RegistryLogin } from '../../../registries/index.ts';
import { inWords } from '../disk-full.ts';
import { ImageError } from '../image-error.ts';
import { imageLimits } from '../limits.ts';
import { type Descriptor, manifestTypes } from '../manifest.ts';
import { type Challenge, parseChallenge } from './challenge.ts';
import { isLoopback, type RegistryHttp, type Response, readAtMost, why } from './http.ts';
import { RegistryError } from './registry-error.ts';
import { pauseSeconds } from './retry-after.ts';

export interface RepositoryOptions {
  http: RegistryHttp;
  /** For people: `ghcr.io`, or the mirror's address. */
  name: string;
  origin: URL;
  repository: string;
  login: RegistryLogin | undefined;
  /** Whether "too many requests" is waited for; without, it is an error at once. */
  waits: boolean;
  notice(line: string): void;
  signal: AbortSignal;
}

/** Reads one repository of a registry, with one login. */
export interface Repository {
  /** Asks whether there is such a manifest for this login. Undefined when the registry does not tell its digest. */
  digestOf(reference: string): Promise<string | undefined>;
  /** @param reference a tag, or a digest, which is then verified */
  manifest(reference: string): Promise<{ bytes: Buffer; digest: string }>;
  /** Verified; of at most `imageLimits.configBytes`. */
  smallBlob(blob: Descriptor): Promise<Buffer>;
  /** Writes a blob to a file and verifies it. */
  download(blob: Descriptor, path: string, progress: (bytes: number) => void): Promise<void>;
}

const maxRedirects = 5;
const maxTokenBytes = 2 ** 20;
/** A registry that keeps saying "too many requests" is given up after so long. */
const maxThrottledSeconds = 15 * 60;
const attempts = 3;
const retryMilliseconds = [1000, 4000];
const digestPattern = /^sha256:[0-9a-f]{64}$/;

export function openRepository(options: RepositoryOptions): Repository {
  const { http, name, origin, repository, login, notice, signal } = options;
  const base = `${origin.href.replace(/\/+$/, '')}/v2/${repository}`;
  const mayUseHttp = origin.protocol === 'http:';
  let authorization: string | undefined;
  let throttledSeconds = 0;

  function checkAddress(url: URL, what: string): void {
    if (url.protocol === 'https:' || (url.protocol === 'http:' && mayUseHttp)) return;
    throw new RegistryError(
      'broken',
      `${name} sends ${what} to ${url.protocol}//${url.host}, without encryption`,
    );
  }

  /** Sends, and sends again what a moment may mend: refusals for too many requests, broken connections, 5xx. */
  async function send(method: 'GET' | 'HEAD', url: URL, headers: Record<string, string>): Promise<Response> {
    for (let failures = 0, refusals = 0; ; ) {
      let response: Response;
      try {
        response = await http.send({ url, method, headers, signal });
      } catch (error) {
        if (!(error instanceof RegistryError) || !options.waits || ++failures >= attempts) throw error;
        await wait(retryMilliseconds[failures - 1], undefined, { signal });
        continue;
      }
      if (response.statusCode === 429) {
        const seconds = pauseSeconds(response.headers['retry-after'], refusals++, new Date());
        await response.body.dump();
        if (!options.waits || throttledSeconds + seconds > maxThrottledSeconds)
          throw new RegistryError(
            'throttled',
            `${name} limits how often images may be pulled, and refuses this one for ${seconds} s more: pull with an account (secret DOCKER_AUTH_CONFIG), or through a mirror`,
          );
        notice(`${name} says "too many requests": trying again in ${seconds} s`);
        await wait(seconds * 1000, undefined, { signal });
        throttledSeconds += seconds;
        continue;
      }
      if (response.statusCode < 500 || !options.waits || ++failures >= attempts) return response;
      await response.body.dump();
      await wait(retryMilliseconds[failures - 1], undefined, { signal });
    }
  }

  /** Goes where it is sent; the login stays with the registry. */
  async function follow(method: 'GET' | 'HEAD', url: URL, accept: Record<string, string>): Promise<Response> {
    let at = url;
    for (let hops = 0; hops <= maxRedirects; hops++) {
      const isRegistry = at.origin === origin.origin;
      const headers = { ...accept, ...(isRegistry && authorization !== undefined ? { authorization } : {}) };
      const response = await send(method, at, headers);
      const location = response.headers['location'];
      if (![301, 302, 303, 307, 308].includes(response.statusCode) || typeof location !== 'string')
        return response;
      await response.body.dump();
      if (!URL.canParse(location, at.href))
        throw new RegistryError('broken', `${name} redirects to no address`);
      at = new URL(location, at);
      checkAddress(at, 'what it is asked for');
    }
    throw new RegistryError('broken', `${name} redirects without end`);
  }

  async function ask(
    method: 'GET' | 'HEAD',
    path: string,
    accept: Record<string, string>,
    allowMissing = false,
  ): Promise<Response> {
    const url = new URL(`${base}${path}`);
    let response = await follow(method, url, accept);
    if (response.statusCode === 401) {
      const challenge = parseChallenge(response.headers['www-authenticate']);
      await response.body.dump();
      authorization = await authorize(challenge);
      response = await follow(method, url, accept);
    }
    if (response.statusCode === 200 || (allowMissing && [404, 405].includes(response.statusCode)))
      return response;
    throw await refusal(response);
  }

  async function authorize(challenge: Challenge | undefined): Promise<string> {
    const basic = login && `Basic ${Buffer.from(`${login.user}:${login.password}`).toString('base64')}`;
    if (challenge === undefined || challenge.scheme === 'basic') {
      // Asked for again with the same login, it is refused again; send() says so.
      if (basic === undefined || authorization === basic) throw denied();
      return basic;
    }
    if (!URL.canParse(challenge.realm))
      throw new RegistryError('broken', `${name} names no address to get a token from`);
    const url = new URL(challenge.realm);
    checkAddress(url, 'logins');
    if (challenge.service !== undefined) url.searchParams.set('service', challenge.service);
    url.searchParams.set('scope', `repository:${repository}:pull`);
    const response = await send('GET', url, basic === undefined ? {} : { authorization: basic });
    if ([401, 403].includes(response.statusCode)) {
      await response.body.dump();
      throw denied();
    }
    const bytes = await readAtMost(response, maxTokenBytes);
    const token = response.statusCode === 200 ? tokenIn(bytes) : undefined;
    if (token === undefined)
      throw new RegistryError(
        'broken',
        `${url.host} gives no token for ${name} (status ${response.statusCode})`,
      );
    return `Bearer ${token}`;
  }

  function denied(): RegistryError {
    return new RegistryError(
      'denied',
      login === undefined
        ? `${name} refuses it without credentials, or has no such image: set the secret DOCKER_AUTH_CONFIG with an entry for ${name}`
        : `${name} refuses it with the credentials given for ${name} (DOCKER_AUTH_CONFIG), or has no such image`,
    );
  }

  async function refusal(response: Response): Promise<RegistryError> {
    const { statusCode } = response;
    const said = messageIn(await readAtMost(response, 64 * 1024).catch(() => undefined));
    if (statusCode === 401 || statusCode === 403) return denied();
    if (statusCode === 404) return new RegistryError('missing', `there is no such image in ${name}`);
    return new RegistryError('broken', `${name} answers with status ${statusCode}${said}`);
  }

  /** What broke off in the middle of an answer. */
  async function again<Result>(work: () => Promise<Result>): Promise<Result> {
    for (let failures = 0; ; ) {
      try {
        return await work();
      } catch (error) {
        const isPassing = error instanceof RegistryError && error.refusal === 'unreachable';
        if (!isPassing || !options.waits || ++failures >= attempts) throw error;
        await wait(retryMilliseconds[failures - 1], undefined, { signal });
      }
    }
  }

  async function smallBlob(path: string, accept: Record<string, string>, maxBytes: number, what: string) {
    const bytes = await again(async () => {
      const response = await ask('GET', path, accept);
      return await readAtMost(response, maxBytes).catch((error: unknown) => {
        signal.throwIfAborted();
        throw new RegistryError('unreachable', `${name} broke off: ${why(error)}`, error);
      });
    });
    if (bytes === undefined) throw new ImageError(`its ${what} is too large`);
    return bytes;
  }

  async function downloadOnce(blob: Descriptor, path: string, progress: (bytes: number) => void) {
    const response = await ask('GET', `/blobs/${blob.digest}`, {});
    const hash = createHash('sha256');
    let received = 0;
    async function* verified(): AsyncGenerator<Buffer, void> {
      for await (const chunk of response.body as AsyncIterable<Buffer>) {
        received += chunk.length;
        if (received > blob.size) break;
        hash.update(chunk);
        progress(chunk.length);
        yield chunk;
      }
    }
    try {
      await pipeline(verified, createWriteStream(path, { mode: 0o600 }), { signal });
    } catch (error) {
      progress(-received);
      signal.throwIfAborted();
      const worded = inWords(error);
      if (worded !== error) throw worded;
      throw new RegistryError('unreachable', `${name} broke off: ${why(error)}`, error);
    }
    if (received !== blob.size || `sha256:${hash.digest('hex')}` !== blob.digest)
      throw new RegistryError(
        'broken',
        `${name} sent something else than ${blob.digest}, which the manifest names`,
      );
  }

  const acceptManifests = { accept: manifestTypes.join(', ') };
  return {
    async digestOf(reference) {
      const response = await ask('HEAD', `/manifests/${reference}`, acceptManifests, true);
      await response.body.dump();
      if (response.statusCode !== 200) return undefined;
      const digest = response.headers['docker-content-digest'];
      return typeof digest === 'string' && digestPattern.test(digest) ? digest : undefined;
    },
    async manifest(reference) {
      const bytes = await smallBlob(
        `/manifests/${reference}`,
        acceptManifests,
        imageLimits.manifestBytes,
        'manifest',
      );
      const digest = sha256(bytes);
      if (digestPattern.test(reference) && digest !== reference)
        throw new RegistryError('broken', `${name} sent a manifest that is not ${reference}`);
      return { bytes, digest };
    },
    async smallBlob(blob) {
      const bytes = await smallBlob(`/blobs/${blob.digest}`, {}, imageLimits.configBytes, 'config');
      if (sha256(bytes) !== blob.digest)
        throw new RegistryError(
          'broken',
          `${name} sent something else than ${blob.digest}, which the manifest names`,
        );
      return bytes;
    },
    download: (blob, path, progress) => again(() => downloadOnce(blob, path, progress)),
  };
}

/** Registries on the loopback address may do without a certificate, as Docker allows it; no others. */
export async function registryOrigin(
  http: RegistryHttp,
  registry: string,
  signal: AbortSignal,
): Promise<URL> {
  const host = registry === 'docker.io' ? 'registry-1.docker.io' : registry;
  const secure = new URL(`https://${host}`);
  if (!isLoopback(secure.hostname)) return secure;
  try {
    const response = await http.send({ url: new URL('/v2/', secure), method: 'GET', headers: {}, signal });
    await response.body.dump();
    return secure;
  } catch (error) {
    if (error instanceof RegistryError) return new URL(`http://${host}`);
    throw error;
  }
}

function sha256(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

function tokenIn(bytes: Buffer | undefined): string | undefined {
  try {
    const answer: unknown = JSON.parse(bytes?.toString('utf8') ?? '');
    const { token, access_token: accessToken } = Object(answer);
    const found: unknown = token ?? accessToken;
    // It becomes a header.
    return typeof found === 'string' && /^[\x21-\x7e]+$/.test(found) ? found : undefined;
  } catch {
    return undefined;
  }
}

/** The registry's own words, if it has any: the first message of its list of errors. */
function messageIn(bytes: Buffer | undefined): string {
  try {
    const answer: unknown = JSON.parse(bytes?.toString('utf8') ?? '');
    const message: unknown = Object(Object(Object(answer)['errors'])[0])['message'];
    return typeof message === 'string' ? `: ${message.replace(/[^\x20-\x7e]/g, ' ').slice(0, 300)}` : '';
  } catch {
    return '';
  }
}
