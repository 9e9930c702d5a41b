import { once } from 'node:events';
import { PassThrough, pipeline, Readable } from 'node:stream';
import type { Logger } from 'pino';
import { cleanGitText, collectTail, type Git, type GitChild, killGroup } from './git-process.ts';
import type { RepositoryLimits } from './limits.ts';
import { flushPacket, pktLine } from './pkt-line.ts';
import { createSemaphore } from './semaphore.ts';

/** `git upload-pack` failed before it said anything: the mirror is broken, or the machine is. */
export class UploadPackError extends Error {
  override readonly name = 'UploadPackError';
}

export interface UploadPackRequest {
  /** A bare repository. */
  directory: string;
  /** The client's request; null: advertise what there is. */
  input: Buffer | null;
  /** The header `Git-Protocol`, as it came. */
  gitProtocol: string | undefined;
  signal: AbortSignal;
}

/**
 * Answers one request of a git client from a repository on disk. Resolves to the answer as it comes, once there is
 * some. The process ends with the answer, when the signal aborts or the answer is destroyed, and at its deadline.
 * @throws UploadPackError; the signal's reason
 */
export function createUploadPack(options: {
  git: Git;
  limits: Pick<RepositoryLimits, 'concurrentUploads' | 'uploadSeconds'>;
  log: Logger;
}): (request: UploadPackRequest) => Promise<Readable> {
  const { git, limits, log } = options;
  const places = createSemaphore(limits.concurrentUploads);

  return async ({ directory, input, gitProtocol, signal }) => {
    using held = new DisposableStack();
    held.use(await places.enter(signal));
    const child = git.start({
      args: [
        'upload-pack',
        '--strict',
        '--stateless-rpc',
        ...(input === null ? ['--http-backend-info-refs'] : []),
        '--',
        directory,
      ],
      gitProtocol: readGitProtocol(gitProtocol),
    });
    const errors = collectTail(child.stderr, 4096);
    const kill = () => void killGroup(child);
    const deadline = setTimeout(kill, limits.uploadSeconds * 1000);
    held.defer(() => clearTimeout(deadline));
    signal.addEventListener('abort', kill, { once: true });
    held.defer(() => signal.removeEventListener('abort', kill));
    const release = held.move();
    const closed = once(child, 'close').finally(() => release.dispose());
    // git may end before it has read everything; its exit code tells why.
    child.stdin.on('error', () => {});
    child.stdin.end(input ?? undefined);

    if (!(await hasOutput(child, closed))) {
      const [code] = await closed;
      signal.throwIfAborted();
      // A lone flush asks for nothing, and gets nothing; git clients probe with one.
      if (code === 0) return Readable.from([]);
      throw new UploadPackError(`git upload-pack ended with ${code}: ${cleanGitText(errors())}`);
    }
    closed.then(([code]) => {
      if (code === 0 || signal.aborted) return;
      // Mostly the client's doing, and told to it: an object that does not exist, a connection that broke.
      log.info({ directory, code, said: cleanGitText(errors()) }, 'git upload-pack did not end well');
    }, kill);
    const answer = new PassThrough();
    if (input === null) answer.write(pktLine('# service=git-upload-pack\n') + flushPacket);
    // Also when the reader of the answer stops reading.
    pipeline(child.stdout, answer, (err) => err && kill());
    return answer;
  };
}

/** Waits for the first output; without any, the process has ended or is about to. */
async function hasOutput(child: GitChild, closed: Promise<unknown>): Promise<boolean> {
  await Promise.race([once(child.stdout, 'readable'), closed]);
  if (child.stdout.readableLength > 0) return true;
  // Its end is noticed by reading only, and "close" waits for that.
  child.stdout.resume();
  return false;
}

/** What git takes from `Git-Protocol`: `version=2`, perhaps with more keys. Anything else is as good as absent. */
function readGitProtocol(header: string | undefined): string | undefined {
  return header !== undefined && /^[a-z0-9=:._-]{1,200}$/i.test(header) ? header : undefined;
}
