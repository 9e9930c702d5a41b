import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { formatByteSize, parseByteSize } from '@kiln/protocol';
import { readSomeSettings, thisHost } from '../env/index.ts';
import { hostEnvironmentOf } from '../host-environment.ts';
import { resolveRegistryAuth, userConfigHome } from '../registry-auth/index.ts';
import { type ImageStore, openImageStore, type StoredImage } from '../runtimes/microvm/images/index.ts';
import type { CommandSurroundings } from './surroundings.ts';

const usage = `Usage: executor image COMMAND

The images that steps run in, as microVMs get them: one read-only drive per image, below EXECUTOR_DATA_DIR. Jobs get what
they need by themselves; a registry is asked with each job's own credentials whether it may have an image that is here.

Commands:
  list                the images that are here, the last used first
  pull IMAGE          get one from its registry, before a job needs it, with the credentials that the executor has
  load FILE [NAME]    take over an archive of "docker save" or in OCI form. Jobs may use such images, which no registry
                      vouches for, with EXECUTOR_DOCKER_ALLOW_LOCAL_IMAGES=true
  remove IMAGE...     remove images by name, digest, or the beginning of their id; none that a job uses
  prune               remove all that no job uses
    --keep SIZE       the least recently used ones only, until the others have at most so much, for example 10G

  --json              what was listed, got or removed, as JSON
`;

/**
 * `executor image ...`; needs no instance.
 * @returns its exit code
 */
export async function runImage(surroundings: CommandSurroundings, args: readonly string[]): Promise<number> {
  const { env, out, err, onSignal } = surroundings;
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      json: { type: 'boolean', default: false },
      keep: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const [command, ...rest] = positionals;
  if (values.help || command === 'help') {
    out(usage);
    return 0;
  }
  if (values.keep !== undefined && command !== 'prune') throw new Error('--keep belongs to "image prune"');
  const settings = readSomeSettings(
    [
      'dataDirectory',
      'dockerRegistryMirrorUrls',
      'imageCacheBytes',
      'dockerAuthConfig',
      'microvmDockerConfig',
    ],
    env,
    thisHost(env),
  );
  const stop = new AbortController();
  onSignal((name) => stop.abort(new Error(`stopped by ${name}`)));
  const store = openImageStore({
    directory: join(settings.dataDirectory, 'images'),
    // A pull is meant for the registry, whatever is here under that name.
    allowLocalImages: false,
    registryMirrorURLs: settings.dockerRegistryMirrorUrls ?? [],
    maxBytes: settings.imageCacheBytes,
  });

  async function run(): Promise<{ images: StoredImage[]; done: string }> {
    switch (command) {
      case 'list':
        expectArguments(rest, 0, 0);
        return { images: await store.list(), done: '' };
      case 'pull': {
        const [image = ''] = expectArguments(rest, 1, 1);
        return { images: await pull(store, image), done: 'pulled' };
      }
      case 'load': {
        const [path = '', name] = expectArguments(rest, 1, 2);
        const archive = { path, ...(name === undefined ? {} : { name }) };
        return { images: await store.load(archive, stop.signal), done: 'loaded' };
      }
      case 'remove': {
        const images: StoredImage[] = [];
        for (const what of expectArguments(rest, 1, Number.POSITIVE_INFINITY))
          images.push(...(await store.remove(what, stop.signal)));
        return { images, done: 'removed' };
      }
      case 'prune': {
        expectArguments(rest, 0, 0);
        const keepBytes = values.keep === undefined ? 0 : parseByteSize(values.keep);
        return { images: await store.prune(keepBytes, stop.signal), done: 'removed' };
      }
      default:
        throw new Error(
          `${command === undefined ? 'say what to do' : `there is no command ${JSON.stringify(command)}`}; "executor image --help" lists the commands`,
        );
    }
  }

  async function pull(from: ImageStore, image: string): Promise<StoredImage[]> {
    const notice = (line: string): void => err(`${line}\n`);
    const { auth, notices } = await resolveRegistryAuth({
      job: {},
      setting: settings.dockerAuthConfig,
      homeDirectory: userConfigHome({ name: 'microvm' }, settings, env),
      images: [image],
      hostEnvironment: hostEnvironmentOf(env),
      signal: stop.signal,
    });
    notices.forEach(notice);
    await using held = await from.resolve(image, auth, notice, stop.signal);
    return (await from.list()).filter(({ imageId }) => imageId === held.imageId);
  }

  const { images, done } = await run();
  if (values.json) out(`${JSON.stringify({ images }, null, 2)}\n`);
  else out(done === '' ? table(images) : images.map((image) => `${done} ${described(image)}\n`).join(''));
  if (!values.json && images.length === 0) err(done === '' ? 'there are no images\n' : 'nothing to remove\n');
  return 0;
}

function expectArguments(rest: readonly string[], least: number, most: number): readonly string[] {
  if (rest.length < least) throw new Error('something is missing; "executor image --help" shows what');
  if (rest.length > most)
    throw new Error(`${JSON.stringify(rest[most])} is too much; "executor image --help" shows what it takes`);
  return rest;
}

function described(image: StoredImage): string {
  return `${shortId(image)} ${image.names.join(', ') || '(no name)'} (${formatByteSize(image.bytes)})`;
}

function table(images: readonly StoredImage[]): string {
  if (images.length === 0) return '';
  const rows = [
    ['ID', 'SIZE', 'LAST USED', 'IN USE', 'NAMES'],
    ...images.map((image) => [
      shortId(image),
      formatByteSize(image.bytes),
      image.lastUsedAt.slice(0, 16).replace('T', ' '),
      image.isHeld ? 'yes' : 'no',
      image.names.join(', ') || '-',
    ]),
  ];
  const widths =
    rows[0]?.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length))) ?? [];
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}

function shortId({ imageId }: StoredImage): string {
  return imageId.replace('sha256:', '').slice(0, 12);
}
