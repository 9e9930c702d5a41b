import { setTimeout as wait } from 'node:timers/promises';
import type { DockerAuthConfig } from '@kiln/protocol';
import { z } from 'zod';
import { type ImageReference, parseStepImage } from '../registries/index.ts';
import { SandboxError } from '../runtime.ts';
import { untilAborted } from '../until-aborted.ts';
import { type Engine, enginePath } from './engine.ts';
import { EngineError, isGone } from './engine-errors.ts';
import { pullImage } from './image-pull.ts';
import { credentialsFor, type RegistryCredentials } from './registry-credentials.ts';

export interface ResolvedImage {
  /** Content address of the local image: what a container is created from, whatever its tag points to by then. */
  id: string;
  /** As the registry knows it; absent for local images. */
  digest?: string;
}

export interface Images {
  /**
   * The local image for a step's reference, pulled when it is absent or has changed. A cached image is used only after
   * the registry has answered a manifest request with *this job's* credentials, so that nobody gets another's private image.
   * @param notice receives progress and waiting times, for the job's log
   * @throws SandboxError, or the signal's reason
   */
  resolve(
    reference: string,
    auth: DockerAuthConfig,
    notice: (line: string) => void,
    signal: AbortSignal,
  ): Promise<ResolvedImage>;
  /**
   * Asks the registry ahead of {@link resolve}, which then need not. Nothing is pulled, and nothing is said: what goes wrong
   * here will go wrong there.
   */
  confirm(reference: string, auth: DockerAuthConfig, signal: AbortSignal): Promise<void>;
}

/** For so long a registry's answer to the same credentials counts as still true. */
const recheckSeconds = 600;
/** A registry that keeps saying "too many requests" is given up after so long. */
const maxThrottledSeconds = 15 * 60;

const imageSchema = z.object({ Id: z.string(), RepoDigests: z.array(z.string()).nullish() });
const distributionSchema = z.object({ Descriptor: z.object({ digest: z.string() }) });

export function openImages(engine: Engine, options: { allowLocalImages: boolean }): Images {
  const confirmed = new Map<string, { digest: string; at: number }>();
  const running = new Map<string, Promise<ResolvedImage>>();

  async function confirmedDigest(
    text: string,
    reference: ImageReference,
    credentials: RegistryCredentials,
    notice: (line: string) => void,
    signal: AbortSignal,
  ): Promise<string> {
    const now = performance.now();
    for (const [key, { at }] of confirmed) if (now - at > recheckSeconds * 1000) confirmed.delete(key);
    const key = `${text} ${credentials.fingerprint}`;
    const known = confirmed.get(key);
    if (known) return known.digest;
    const digest = await throttled(text, reference, notice, signal, () =>
      registryDigest(engine, text, credentials, signal),
    );
    confirmed.set(key, { digest, at: performance.now() });
    return digest;
  }

  /** Whether an image on this machine has no registry to be asked about, and may be used as it is. */
  function isLocalOnly(local: { digests: string[] } | undefined, reference: ImageReference): boolean {
    const known = local?.digests.some((digest) => digest.startsWith(`${reference.familiarName}@`));
    return local !== undefined && known !== true && options.allowLocalImages;
  }

  async function resolveOnce(
    text: string,
    reference: ImageReference,
    credentials: RegistryCredentials,
    notice: (line: string) => void,
    signal: AbortSignal,
  ): Promise<ResolvedImage> {
    const local = await inspectImage(engine, text, signal);
    if (local !== undefined && isLocalOnly(local, reference)) return { id: local.id };
    const digest = await confirmedDigest(text, reference, credentials, notice, signal);
    const wanted = `${reference.familiarName}@${digest}`;
    if (local?.digests.includes(wanted)) return { id: local.id, digest };
    await throttled(text, reference, notice, signal, () =>
      pullImage(engine, reference, credentials, notice, signal),
    );
    const pulled = await inspectImage(engine, text, signal);
    if (!pulled)
      throw new SandboxError(`image ${text} was removed from this machine right after it was pulled`, {
        infrastructure: true,
      });
    return { id: pulled.id, digest };
  }

  return {
    async confirm(text, auth, signal) {
      try {
        const reference = parseStepImage(text);
        const credentials = credentialsFor(reference.registry, auth);
        const key = `${text} ${credentials.fingerprint}`;
        if (confirmed.has(key) || running.has(key)) return;
        if (isLocalOnly(await inspectImage(engine, text, signal), reference)) return;
        const digest = await registryDigest(engine, text, credentials, signal);
        confirmed.set(key, { digest, at: performance.now() });
      } catch {
        // Asked again, with everything that is to be said about it, when the step needs the image.
      }
    },
    async resolve(text, auth, notice, signal) {
      const reference = parseStepImage(text);
      const credentials = credentialsFor(reference.registry, auth);
      const key = `${text} ${credentials.fingerprint}`;
      // Single flight: jobs that need the same image with the same credentials wait for one pull. When the job that
      // runs it is canceled, the next one takes over.
      for (;;) {
        const other = running.get(key);
        if (!other) break;
        notice(`waiting for image ${text}, which another job is getting`);
        const outcome = await untilAborted(
          other.catch(() => undefined),
          signal,
        );
        if (outcome) return outcome;
      }
      const mine = resolveOnce(text, reference, credentials, notice, signal);
      running.set(key, mine);
      try {
        return await mine;
      } catch (error) {
        signal.throwIfAborted();
        throw error instanceof SandboxError
          ? error
          : imageError(text, reference, credentials, error, options.allowLocalImages);
      } finally {
        running.delete(key);
      }
    },
  };
}

async function inspectImage(engine: Engine, text: string, signal: AbortSignal) {
  try {
    const path = `/images/${encodeURIComponent(text)}/json`;
    const image = await engine.json({ method: 'GET', path, deadlineSeconds: 30, signal }, imageSchema);
    return { id: image.Id, digests: image.RepoDigests ?? [] };
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

async function registryDigest(
  engine: Engine,
  text: string,
  credentials: RegistryCredentials,
  signal: AbortSignal,
): Promise<string> {
  const answer = await engine.json(
    {
      method: 'GET',
      path: `/distribution${enginePath(text)}/json`,
      headers: credentials.header === undefined ? {} : { 'x-registry-auth': credentials.header },
      deadlineSeconds: 60,
      signal,
    },
    distributionSchema,
  );
  return answer.Descriptor.digest;
}

/** Repeats what a registry refuses for its rate limit, as long as it tells, else at growing intervals. */
async function throttled<T>(
  text: string,
  reference: ImageReference,
  notice: (line: string) => void,
  signal: AbortSignal,
  ask: () => Promise<T>,
): Promise<T> {
  let waitedSeconds = 0;
  for (let attempt = 0; ; attempt++) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof EngineError) || !isThrottled(error)) throw error;
      const seconds = secondsTold(error.message) ?? Math.min(10 * 2 ** attempt, 120);
      if (waitedSeconds + seconds > maxThrottledSeconds)
        throw new SandboxError(
          `${reference.registry} limits how often images may be pulled and still refuses ${text} after ${waitedSeconds} s: pull with an account (secret DOCKER_AUTH_CONFIG), or through a mirror`,
          { infrastructure: true, cause: error },
        );
      notice(`${reference.registry} says "too many requests" for ${text}: trying again in ${seconds} s`);
      await wait(seconds * 1000, undefined, { signal });
      waitedSeconds += seconds;
    }
  }
}

function isThrottled(error: EngineError): boolean {
  return error.status === 429 || /toomanyrequests|too many requests|rate limit/i.test(error.message);
}

/** The daemon passes on no `Retry-After` header, but registries repeat it in their message. */
function secondsTold(message: string): number | undefined {
  const match = /retry[- ]after[:=]?\s*([\d.]+)\s*(ms|s)?/i.exec(message);
  if (!match) return undefined;
  const value = Number(match[1]) / (match[2] === 'ms' ? 1000 : 1);
  return Number.isFinite(value) ? Math.min(Math.max(1, Math.ceil(value)), maxThrottledSeconds) : undefined;
}

/** In people's words, never with the credentials: the daemon's message may quote a URL, but no header. */
function imageError(
  text: string,
  reference: ImageReference,
  credentials: RegistryCredentials,
  error: unknown,
  allowLocalImages: boolean,
): SandboxError {
  const message = error instanceof Error ? error.message : String(error);
  if (!(error instanceof EngineError))
    return new SandboxError(message, { infrastructure: true, cause: error });
  const local = allowLocalImages
    ? ''
    : ' (images that exist only on this machine need EXECUTOR_DOCKER_ALLOW_LOCAL_IMAGES=true)';
  if (
    /unauthorized|authentication required|access (to the resource is )?denied|denied:|no basic auth/i.test(
      message,
    )
  )
    return new SandboxError(
      credentials.header === undefined
        ? `${reference.registry} refuses image ${text} without credentials, or has no such image: set the secret DOCKER_AUTH_CONFIG with an entry for ${reference.registry}${local}`
        : `${reference.registry} refuses image ${text} with the credentials given for ${reference.registry} (DOCKER_AUTH_CONFIG), or has no such image${local}`,
      { infrastructure: false, cause: error },
    );
  if (error.status === 404 || /manifest unknown|name unknown|not found|no such image/i.test(message))
    return new SandboxError(`there is no image ${text} in ${reference.registry}${local}`, {
      infrastructure: false,
      cause: error,
    });
  return new SandboxError(
    `image ${text} could not be fetched from ${reference.registry}: ${message}${local}`,
    {
      infrastructure: true,
      cause: error,
    },
  );
}
