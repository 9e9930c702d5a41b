import { createHash } from 'node:crypto';
import type { DockerAuthConfig } from '@kiln/protocol';
import { type ImageReference, loginFor, parseStepImage, type RegistryLogin } from '../../registries/index.ts';
import { SandboxError } from '../../runtime.ts';
import { untilAborted } from '../../until-aborted.ts';
import { diskFull, inWords } from './disk-full.ts';
import { ImageError } from './image-error.ts';
import { loadArchive, localName } from './load.ts';
import { pull } from './pull.ts';
import { openRegistryHttp } from './registry/http.ts';
import { RegistryError } from './registry/registry-error.ts';
import { openRepository, type Repository, registryOrigin } from './registry/repository.ts';
import { hasRoom, removeOldest, removeUnlessHeld } from './room.ts';
import { openShelf, type Shelf } from './shelf.ts';
import { isCalled, type StoredImage, stored } from './stored-image.ts';

/** An image for one job: not removed until it is disposed. */
export interface HeldImage extends AsyncDisposable {
  /** As the registry names what the reference stands for; of a loaded image, its id. */
  digest: string;
  /** Digest of its config: equal for equal contents. */
  imageId: string;
  /** A read-only squashfs; a link of its own, gone when this is disposed. */
  drivePath: string;
  config: { env: string[]; user: string; workingDir: string };
}

export interface ImageStore {
  /**
   * The drive of an image, made when it is not there. It is given out only after the registry has answered a request for
   * its manifest with *this job's* credentials, at most ten minutes ago, so that nobody gets another's private image.
   * @param notice receives progress and waiting times, for the job's log
   * @throws SandboxError, or the signal's reason
   */
  resolve(
    reference: string,
    auth: DockerAuthConfig,
    notice: (line: string) => void,
    signal: AbortSignal,
  ): Promise<HeldImage>;
  list(): Promise<StoredImage[]>;
  /**
   * Takes over the images of an archive, as images that exist on this machine only.
   * @param name for the only image of an archive, instead of those in it
   * @throws ImageError
   */
  load(archive: { path: string; name?: string }, signal: AbortSignal): Promise<StoredImage[]>;
  /**
   * Removes the images of that name, digest or id (or its beginning).
   * @throws ImageError when there is none, or a job uses it
   */
  remove(what: string, signal: AbortSignal): Promise<StoredImage[]>;
  /** Removes the least recently used images that no job uses, until all have at most `keepBytes`. */
  prune(keepBytes: number, signal: AbortSignal): Promise<StoredImage[]>;
  /** Removes what processes that are gone left behind. */
  sweep(): Promise<void>;
}

export interface ImageStoreOptions {
  directory: string;
  /** Whether jobs may use images that were loaded from archives. */
  allowLocalImages: boolean;
  /** Asked before Docker Hub, in this order, without credentials. */
  registryMirrorURLs: readonly string[];
  /** What all drives together may have; those in use count, but stay. */
  maxBytes: number;
}

/** For so long a registry's answer to the same credentials counts as still true. */
const recheckSeconds = 600;

/** Nothing is touched before the first call. */
export function openImageStore(options: ImageStoreOptions): ImageStore {
  const confirmed = new Map<string, { imageId: string; digest: string; at: number }>();
  const running = new Map<string, Promise<unknown>>();
  let opened: Promise<Shelf> | undefined;

  async function openSwept(): Promise<Shelf> {
    const shelf = await openShelf(options.directory);
    await shelf.sweep();
    return shelf;
  }
  /** A directory that could not be made is tried again: the disk may have been full. */
  function openedShelf(): Promise<Shelf> {
    opened ??= openSwept().catch((error: unknown) => {
      opened = undefined;
      throw error;
    });
    return opened;
  }

  async function makeRoom(shelf: Shelf, bytes: number, signal: AbortSignal): Promise<void> {
    await removeOldest(shelf, (kept) => kept + bytes / 2 <= options.maxBytes, signal);
    await removeOldest(shelf, () => hasRoom(options.directory, bytes), signal);
    if (!(await hasRoom(options.directory, bytes))) throw diskFull();
  }

  async function held(shelf: Shelf, imageId: string, digest: string): Promise<HeldImage | undefined> {
    const image = await shelf.get(imageId);
    const hold = image && (await shelf.hold(imageId));
    if (!image || !hold) return undefined;
    return {
      imageId,
      digest,
      drivePath: hold.path,
      config: image.config,
      [Symbol.asyncDispose]: () => hold[Symbol.asyncDispose](),
    };
  }

  async function resolveLocal(shelf: Shelf, reference: ImageReference): Promise<HeldImage | undefined> {
    if (!options.allowLocalImages || reference.digest !== undefined) return undefined;
    const name = localName(reference);
    const local = (await shelf.all()).find(({ localNames }) => localNames.includes(name));
    return local && held(shelf, local.imageId, local.imageId);
  }

  async function confirm(
    request: Request,
    repository: Repository,
  ): Promise<{ imageId: string; digest: string }> {
    const { shelf, reference, notice, signal, text } = request;
    const tagOrDigest = reference.digest ?? reference.tag ?? 'latest';
    const name = repositoryName(reference);
    const digest = await repository.digestOf(tagOrDigest);
    const known = (await shelf.all()).find(({ sources }) =>
      sources.some(
        (source) => source.repository === name && digest !== undefined && source.digests.includes(digest),
      ),
    );
    if (known && digest !== undefined) return { imageId: known.imageId, digest };
    return await pull({
      shelf,
      repository,
      repositoryName: name,
      text,
      // What a tag stands for may change between two questions.
      tagOrDigest: digest ?? tagOrDigest,
      makeRoom: (bytes) => makeRoom(shelf, bytes, signal),
      notice,
      signal,
    });
  }

  /** Mirrors first; whatever is wrong with one, the next is asked, and at last the registry itself. */
  async function resolveRemote(request: Request): Promise<HeldImage> {
    const { reference, login, notice, signal } = request;
    await using http = openRegistryHttp();
    const mirrors = reference.registry === 'docker.io' ? options.registryMirrorURLs : [];
    const common = { http, repository: reference.repository, notice, signal };
    for (const url of mirrors) {
      const origin = new URL(url);
      const repository = openRepository({
        ...common,
        origin,
        name: origin.host,
        login: undefined,
        waits: false,
      });
      try {
        return await confirmAndHold(request, repository);
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof RegistryError)) throw error;
        notice(`mirror ${origin.host} does not serve ${request.text}: ${error.message}`);
      }
    }
    const origin = await registryOrigin(http, reference.registry, signal);
    return await confirmAndHold(
      request,
      openRepository({ ...common, origin, name: reference.registry, login, waits: true }),
    );
  }

  /** An image may be removed between its confirmation and its hold; then it is got again, once. */
  async function confirmAndHold(request: Request, repository: Repository): Promise<HeldImage> {
    for (let attempt = 0; ; attempt++) {
      const { imageId, digest } = await confirm(request, repository);
      const image = await held(request.shelf, imageId, digest);
      if (image) {
        confirmed.set(request.key, { imageId, digest, at: performance.now() });
        return image;
      }
      if (attempt === 1)
        throw new ImageError('it was removed from this machine right after it was pulled', {
          infrastructure: true,
        });
    }
  }

  async function resolve(request: Request): Promise<HeldImage> {
    const { shelf, reference } = request;
    for (const [key, { at }] of confirmed)
      if (performance.now() - at > recheckSeconds * 1000) confirmed.delete(key);
    const local = await resolveLocal(shelf, reference);
    if (local) return local;
    const known = confirmed.get(request.key);
    return (known && (await held(shelf, known.imageId, known.digest))) ?? (await resolveRemote(request));
  }

  return {
    async resolve(text, auth, notice, signal) {
      signal.throwIfAborted();
      try {
        const reference = parseStepImage(text);
        const login = loginFor(reference.registry, auth);
        const key = `${text} ${fingerprint(login)}`;
        // Single flight: jobs that need the same image with the same credentials wait for one pull. When the job that
        // runs it is canceled or fails, the next one takes over.
        const shelf = await openedShelf();
        for (let other = running.get(key); other !== undefined; other = running.get(key)) {
          notice(`waiting for image ${text}, which another job is getting`);
          await untilAborted(other, signal);
        }
        const mine = resolve({ shelf, text, reference, login, key, notice, signal });
        running.set(
          key,
          mine.then(
            () => undefined,
            () => undefined,
          ),
        );
        try {
          return await mine;
        } finally {
          running.delete(key);
        }
      } catch (error) {
        signal.throwIfAborted();
        throw sandboxError(text, error, options.allowLocalImages);
      }
    },
    async list() {
      const images = await (await openedShelf()).all();
      return images.map(stored).sort((a, b) => (a.lastUsedAt < b.lastUsedAt ? 1 : -1));
    },
    async load(archive, signal) {
      const shelf = await openedShelf();
      const loaded = await loadArchive(shelf, archive, signal).catch((error: unknown) => {
        throw inWords(error);
      });
      await removeOldest(shelf, (kept) => kept <= options.maxBytes, signal);
      return loaded;
    },
    async remove(what, signal) {
      const shelf = await openedShelf();
      const images = (await shelf.all()).filter((image) => isCalled(image, what));
      if (images.length === 0)
        throw new ImageError(`there is no image ${JSON.stringify(what)} on this machine`);
      for (const { imageId } of images)
        if (!(await removeUnlessHeld(shelf, imageId, signal)))
          throw new ImageError(`image ${what} is in use; it can be removed when the jobs with it have ended`);
      return images.map(stored);
    },
    async prune(keepBytes, signal) {
      return (await removeOldest(await openedShelf(), (kept) => kept <= keepBytes, signal)).map(stored);
    },
    async sweep() {
      await (await openedShelf()).sweep();
    },
  };
}

interface Request {
  shelf: Shelf;
  text: string;
  reference: ImageReference;
  login: RegistryLogin | undefined;
  /** Of reference and credentials. */
  key: string;
  notice(line: string): void;
  signal: AbortSignal;
}

function repositoryName({ registry, repository }: ImageReference): string {
  return `${registry}/${repository}`;
}

/** Tells credentials apart without holding them. */
function fingerprint(login: RegistryLogin | undefined): string {
  if (login === undefined) return 'anonymous';
  return createHash('sha256').update(`${login.user.length} ${login.user}:${login.password}`).digest('hex');
}

function sandboxError(text: string, error: unknown, allowLocalImages: boolean): SandboxError {
  if (error instanceof SandboxError) return error;
  const cause = inWords(error);
  const message = cause instanceof Error ? cause.message : String(cause);
  const local =
    cause instanceof RegistryError && ['denied', 'missing'].includes(cause.refusal) && !allowLocalImages
      ? ' (images that exist only on this machine need EXECUTOR_DOCKER_ALLOW_LOCAL_IMAGES=true)'
      : '';
  return new SandboxError(`image ${text}: ${message}${local}`, {
    infrastructure: cause instanceof ImageError ? cause.infrastructure : true,
    cause: error,
  });
}
