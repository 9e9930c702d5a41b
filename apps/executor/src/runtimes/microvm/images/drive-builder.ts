import { type ChildProcess, spawn } from 'node:child_process';
import { type FileHandle, open } from 'node:fs/promises';
import { setPriority } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { diskFull } from './disk-full.ts';
import { ImageError } from './image-error.ts';

/**
 * The user that the builder of drives runs as. No account has it, so nothing else on the machine is its own: contents of
 * images are somebody else's, and a flaw in the builder must lead nowhere.
 */
const builderId = 1_800_000_000;
/** The builder keeps that much of what it reads and writes in memory. */
const memory = '256M';
const maxComplaintBytes = 8192;

export interface DriveSource {
  /** The whole file system as one tar archive. */
  archive: AsyncIterable<Buffer>;
  rootMode: number;
  /** Of the newest file: the only time that is taken from anywhere but the archive, so that equal images give equal drives. */
  newestSeconds: number;
}

/**
 * Writes a read-only squashfs. Nothing is extracted: the archive goes through a pipe into `mksquashfs`, which has no
 * privilege and no file but the drive, by its descriptor.
 * @param path of a file that is not there yet
 * @throws ImageError
 */
export async function buildDrive(path: string, source: DriveSource, signal: AbortSignal): Promise<void> {
  const isRoot = process.getuid?.() === 0;
  await using drive = await open(path, 'wx+', 0o600);
  if (isRoot) await drive.chown(builderId, builderId);
  await runBuilder(drive, source, isRoot, signal);
  if (isRoot) await drive.chown(0, 0);
  const superblock = await checkedSuperblock(drive);
  if (isRoot) await giveRootDirectoryToRoot(drive, superblock);
  await drive.chmod(0o444);
  await drive.sync();
}

/** `sqfstar`, the same program by another name, cannot be told how hard to compress. */
function builderCommand(rootMode: number): string[] {
  return [
    'mksquashfs',
    '-',
    '/proc/self/fd/3',
    '-tar',
    '-noappend',
    ...['-comp', 'zstd', '-Xcompression-level', '3', '-b', '128K'],
    ...['-root-mode', (rootMode & 0o777).toString(8), '-mem', memory],
    // The table of owners is not compressed: see giveRootDirectoryToRoot.
    '-noId',
    ...['-exit-on-error', '-quiet', '-no-progress'],
  ];
}

function unprivileged(command: readonly string[]): string[] {
  return [
    'setpriv',
    `--reuid=${builderId}`,
    `--regid=${builderId}`,
    '--clear-groups',
    '--no-new-privs',
    '--inh-caps=-all',
    '--bounding-set=-all',
    ...command,
  ];
}

async function runBuilder(
  drive: FileHandle,
  source: DriveSource,
  isRoot: boolean,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  const command = builderCommand(source.rootMode);
  const [program = '', ...args] = isRoot ? unprivileged(command) : command;
  const child = spawn(program, args, {
    stdio: ['pipe', 'ignore', 'pipe', drive.fd],
    cwd: '/',
    env: {
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
      LC_ALL: 'C',
      SOURCE_DATE_EPOCH: String(Math.max(1, source.newestSeconds)),
    },
  });
  const [stdin, stderr] = [child.stdin, child.stderr];
  if (stdin === null || stderr === null) throw new Error('the builder was started without pipes');
  const closed = ended(child);
  const complaint = collect(stderr);
  const kill = (): void => void child.kill('SIGKILL');
  signal.addEventListener('abort', kill, { once: true });
  try {
    if (child.pid !== undefined) setPriority(child.pid, 5);
    await feed(stdin, source.archive);
    const code = await closed;
    signal.throwIfAborted();
    if (code !== 0) throw builderFailure(await complaint, code);
  } finally {
    signal.removeEventListener('abort', kill);
    kill();
    await closed.catch(() => undefined);
  }
}

/** Ends in silence when the builder takes no more: how it ended tells why. */
async function feed(stdin: Writable, archive: AsyncIterable<Buffer>): Promise<void> {
  let failure: unknown;
  async function* watched(): AsyncGenerator<Buffer, void> {
    try {
      yield* archive;
    } catch (error) {
      failure = error;
      throw error;
    }
  }
  await pipeline(watched, stdin).catch(() => undefined);
  if (failure !== undefined) throw failure;
}

function ended(child: ChildProcess): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  child.once('close', (code) => resolve(code ?? -1));
  child.once('error', (error: NodeJS.ErrnoException) =>
    reject(
      new ImageError(
        error.code === 'ENOENT'
          ? 'images cannot be made into drives: mksquashfs or setpriv is missing; install the packages squashfs-tools and util-linux'
          : `images cannot be made into drives: ${error.message}`,
        { infrastructure: true, cause: error },
      ),
    ),
  );
  // Whoever is late reads it; until then it is nobody's unhandled rejection.
  promise.catch(() => undefined);
  return promise;
}

async function collect(stream: Readable): Promise<string> {
  let text = '';
  for await (const chunk of stream) if (text.length < maxComplaintBytes) text += String(chunk);
  return text;
}

function builderFailure(complaint: string, code: number): ImageError {
  const said = complaint
    .trim()
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('Empty tar filename'))
    .slice(-2)
    .join('; ')
    .slice(0, 500);
  if (/no space left|quota exceeded/i.test(complaint)) return diskFull();
  return new ImageError(`mksquashfs refused the image (exit code ${code})${said === '' ? '' : `: ${said}`}`);
}

async function checkedSuperblock(drive: FileHandle): Promise<Buffer> {
  const { bytesRead, buffer } = await drive.read(Buffer.alloc(96), 0, 96, 0);
  const { size } = await drive.stat();
  const isWhole =
    bytesRead === 96 &&
    buffer.toString('latin1', 0, 4) === 'hsqs' &&
    Number(buffer.readBigUInt64LE(40)) <= size;
  if (!isWhole) throw new ImageError('mksquashfs made no whole drive of the image', { infrastructure: true });
  return buffer;
}

/**
 * The builder makes the root directory its own, whatever it is told. Inodes name owners by their place in a table, so it
 * is enough to put another number there. In the table, which is not compressed, blocks of up to 2048 owners begin with
 * their length; where they are stands in a second table, whose place is in the superblock.
 */
async function giveRootDirectoryToRoot(drive: FileHandle, superblock: Buffer): Promise<void> {
  const owners = superblock.readUInt16LE(26);
  const [tableStart, blocks] = [Number(superblock.readBigUInt64LE(48)), Math.ceil(owners / 2048)];
  const { buffer: places } = await drive.read(Buffer.alloc(8 * blocks), 0, 8 * blocks, tableStart);
  for (let block = 0; block < blocks; block++) {
    const start = Number(places.readBigUInt64LE(8 * block));
    const length = Math.min(2048, owners - 2048 * block) * 4;
    const { bytesRead, buffer } = await drive.read(Buffer.alloc(2 + length), 0, 2 + length, start);
    if (bytesRead !== 2 + length || buffer.readUInt16LE(0) !== (0x8000 | length))
      throw new ImageError('mksquashfs wrote its table of owners in an unknown form', {
        infrastructure: true,
      });
    for (let at = 2; at < buffer.length; at += 4)
      if (buffer.readUInt32LE(at) === builderId) await drive.write(Buffer.alloc(4), 0, 4, start + at);
  }
}
