import { spawn } from 'node:child_process';
import { statfs } from 'node:fs/promises';
import { formatByteSize } from '@kiln/protocol';

const intervalMilliseconds = 1000;
/** A workspace of very many files takes long to measure: at most a quarter of the time goes into it. */
const restFactor = 3;
const duDeadlineSeconds = 120;
/** What a job may use beyond its disk size before it is stopped: the measuring lags behind. */
export const diskToleranceBytes = 1024 ** 3;

export interface DiskWatchOptions {
  /** Directories on this machine: workspace, volumes. */
  directories: () => readonly string[];
  /** Bytes in the container's writable layer. */
  layerBytes: (signal: AbortSignal) => Promise<number>;
  limitBytes: number;
  /** File systems whose free space must stay above `minFreeBytes`. */
  fileSystems: readonly string[];
  minFreeBytes: number;
  /** Called once, with the reason in words for people. */
  onExceeded: (reason: string) => void;
}

export interface DiskWatch extends AsyncDisposable {
  /** Highest measured so far. */
  peakBytes(): number;
}

/** Measures a job's disk use each second while a step runs: overlay file systems on ext4 know no quota. */
export function watchDisk(options: DiskWatchOptions): DiskWatch {
  const stopped = new AbortController();
  let peakBytes = 0;
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> = Promise.resolve();

  async function check(): Promise<void> {
    const free = await Promise.all(options.fileSystems.map(freeBytes));
    const least = Math.min(...free.filter((bytes) => bytes !== undefined));
    if (least < options.minFreeBytes) {
      options.onExceeded(
        `this machine has only ${formatByteSize(Math.max(0, least))} of disk space left, less than the ${formatByteSize(options.minFreeBytes)} that are kept free`,
      );
      return;
    }
    const [layer, directories] = await Promise.all([
      options.layerBytes(stopped.signal),
      directoryBytes(options.directories(), stopped.signal),
    ]);
    peakBytes = Math.max(peakBytes, layer + directories);
    if (options.limitBytes > 0 && layer + directories > options.limitBytes + diskToleranceBytes)
      options.onExceeded(
        `the job used ${formatByteSize(layer + directories)} of disk space, more than its ${formatByteSize(options.limitBytes)}`,
      );
  }

  function schedule(milliseconds: number): void {
    if (stopped.signal.aborted) return;
    timer = setTimeout(() => {
      const begin = performance.now();
      // A single failed measurement (the container is just ending, the daemon restarts) is no reason to end a step.
      running = check()
        .catch(() => undefined)
        .finally(() => {
          schedule(Math.max(intervalMilliseconds, restFactor * (performance.now() - begin)));
        });
    }, milliseconds);
  }

  schedule(intervalMilliseconds);
  return {
    peakBytes: () => peakBytes,
    async [Symbol.asyncDispose]() {
      stopped.abort();
      clearTimeout(timer);
      await running;
    },
  };
}

/** Allocated bytes below directories, without following links or crossing into other file systems. */
export async function directoryBytes(directories: readonly string[], signal?: AbortSignal): Promise<number> {
  if (directories.length === 0) return 0;
  const child = spawn('du', ['-s', '-x', '-B1', '--', ...directories], {
    env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' },
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: duDeadlineSeconds * 1000,
    killSignal: 'SIGKILL',
    ...(signal ? { signal } : {}),
  });
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  child.on('error', reject);
  // Files that vanish meanwhile make it end with 1; what it printed still holds.
  child.on('close', () => {
    resolve(output.split('\n').reduce((sum, line) => sum + (Number.parseInt(line, 10) || 0), 0));
  });
  return promise;
}

async function freeBytes(path: string): Promise<number | undefined> {
  try {
    const { bavail, bsize } = await statfs(path);
    return bavail * bsize;
  } catch {
    return undefined;
  }
}
