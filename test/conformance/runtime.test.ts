import { symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Runtime } from '../../apps/executor/src/runtimes/runtime.ts';
import { dockerUnderTest } from './docker.ts';
import { whyNoFirecracker } from './firecracker.ts';
import { microvmUnderTest } from './microvm.ts';
import { type RuntimeUnderTest, startJob, testDirectory } from './runtime-under-test.ts';

const gibibyte = 1024 ** 3;
const never = (): void => undefined;

const noFirecracker = await whyNoFirecracker();
if (noFirecracker !== undefined)
  test.skip(`[skip ok] a step in microvm by Firecracker: ${noFirecracker}`, never);

describe.each([
  { name: 'docker', by: 'its daemon', start: dockerUnderTest },
  { name: 'microvm', by: 'QEMU', start: microvmUnderTest },
  ...(noFirecracker === undefined
    ? [{ name: 'microvm', by: 'Firecracker', start: () => microvmUnderTest({}, 'firecracker') }]
    : []),
])('a step in $name by $by', ({ name, start }) => {
  let under: RuntimeUnderTest;
  let directory: Awaited<ReturnType<typeof testDirectory>>;
  let runtime: Runtime & AsyncDisposable;
  const warnings: string[] = [];

  /** Some properties are reached in different ways. */
  const testOf = (runtimeName: string): ((title: string, run: () => Promise<void>) => void) =>
    runtimeName === name ? test : never;

  beforeAll(async () => {
    under = await start();
    directory = await testDirectory();
    runtime = under.open({ dataDirectory: directory.path, warnings });
  });
  afterAll(async () => {
    await runtime?.[Symbol.asyncDispose]();
    await under?.[Symbol.asyncDispose]();
    await directory?.[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    expect(await under.leftovers()).toEqual([]);
    expect(warnings).toEqual([]);
  });

  test('ends with its exit code', async () => {
    await using job = await startJob(runtime, under, directory.path);
    expect((await job.run('true')).exitCode).toBe(0);
    expect((await job.run('exit 3')).exitCode).toBe(3);
    expect((await job.run('no-such-command')).exitCode).toBe(127);
    const killed = await job.run('kill -9 $$');
    expect(killed.exitCode).toBe(137);
    expect(killed.killedBecause).toBeUndefined();
  });

  test('has its environment, multi-line values too, and shows only names in the command line', async () => {
    await using job = await startJob(runtime, under, directory.path);
    const env = ['SECRET=first line\nsecond=line\n\n"quoted" $x', 'EMPTY=', 'UNICODE=✓'];
    const outcome = await job.run('printf "%s|%s|%s" "$SECRET" "$EMPTY" "$UNICODE"', { env });
    expect(outcome.stdout).toBe('first line\nsecond=line\n\n"quoted" $x||✓');
    const step = { name: '0', image: under.image, scriptPath: 's.sh', dir: '', env };
    const shown = job.sandbox.commandLine(step).join('\n');
    expect(shown).toContain('SECRET');
    expect(shown).not.toContain('second');
  });

  test('shares the workspace with the other steps and runs in its directory', async () => {
    await using job = await startJob(runtime, under, directory.path);
    await job.run('mkdir -p "sub dir" && echo shared > "sub dir/file"');
    const outcome = await job.run('pwd; cat file; echo 2 >> ../made', { dir: 'sub dir' });
    expect(outcome.stdout).toBe('/data/sub dir\nshared\n');
    expect(await job.read('made')).toBe('2\n');
    await expect(job.run('true', { dir: '../..' })).rejects.toThrow('outside the workspace');
  });

  test('keeps its streams apart, in order and byte for byte', async () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    await using job = await startJob(runtime, under, directory.path, {
      prepare: (workspace) => writeFile(join(workspace, 'bytes'), bytes),
    });
    const outcome = await job.run(
      'i=0; while [ $i -lt 200 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done; printf partial',
    );
    const numbers = Array.from({ length: 200 }, (_, number) => number);
    expect(outcome.stdout).toBe(`${numbers.map((number) => `out${number}\n`).join('')}partial`);
    expect(outcome.stderr).toBe(numbers.map((number) => `err${number}\n`).join(''));
    const received: Uint8Array[] = [];
    await job.run('cat bytes', { write: async (_, piece) => void received.push(Buffer.from(piece)) });
    expect(Buffer.concat(received)).toEqual(bytes);
  });

  test('writes 100 MB without filling the memory of the executor', async () => {
    await using job = await startJob(runtime, under, directory.path);
    const before = process.memoryUsage().rss;
    let length = 0;
    let highest = 0;
    await job.run('dd if=/dev/zero bs=1M count=100 2>/dev/null', {
      async write(_, piece) {
        length += piece.length;
        highest = Math.max(highest, process.memoryUsage().rss);
      },
    });
    expect(length).toBe(100 * 1024 * 1024);
    expect(highest - before).toBeLessThan(64 * 1024 * 1024);
  });

  test('waits while its output is not taken', async () => {
    await using job = await startJob(runtime, under, directory.path);
    const [first, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    let length = 0;
    const running = job.run('dd if=/dev/zero bs=1M count=30 2>/dev/null; touch finished', {
      async write(_, piece) {
        length += piece.length;
        first.resolve();
        await held.promise;
      },
    });
    await first.promise;
    await wait(1500);
    expect(length).toBeLessThan(1024 * 1024);
    expect(await job.read('finished')).toBeUndefined();
    held.resolve();
    expect((await running).exitCode).toBe(0);
    expect(length).toBe(30 * 1024 * 1024);
    expect(await job.read('finished')).toBe('');
  });

  test('loses nothing when it ends while its output is not taken', async () => {
    await using job = await startJob(runtime, under, directory.path);
    let length = 0;
    // More than Docker holds in memory for a slow reader, with the end right behind it.
    const outcome = await job.run('dd if=/dev/zero bs=64k count=19 2>/dev/null; echo end', {
      async write(_, piece) {
        if (length === 0) await wait(5000);
        length += piece.length;
      },
    });
    expect(outcome.exitCode).toBe(0);
    expect(length).toBe(19 * 65536 + 4);
  });

  test('is killed also while its output is not taken', async () => {
    await using job = await startJob(runtime, under, directory.path);
    const cancel = new AbortController();
    const begin = Promise.withResolvers<number>();
    const outcome = await job.run('dd if=/dev/zero bs=1M count=30; sleep 600.3125', {
      signal: cancel.signal,
      write() {
        setTimeout(() => {
          cancel.abort();
          begin.resolve(performance.now());
        }, 1000);
        return new Promise(() => undefined);
      },
    });
    expect(outcome.exitCode).toBe(-1);
    expect(performance.now() - (await begin.promise)).toBeLessThan(15_000);
    expect(await under.processesWith('dd\u0000if=/dev/zero\u0000bs=1M\u0000count=30')).toEqual([]);
  });

  test('ends when its output cannot be delivered', async () => {
    await using job = await startJob(runtime, under, directory.path);
    const running = job.run('echo x; sleep 600.125', {
      write: () => Promise.reject(new Error('the log is full')),
    });
    await expect(running).rejects.toThrow('the log is full');
    expect(await under.processesWith('sleep\u0000600.125')).toEqual([]);
  });

  test('is killed by cancel with all that it started, also what ignores SIGTERM', async () => {
    await using job = await startJob(runtime, under, directory.path);
    const cancel = new AbortController();
    let begin = 0;
    const outcome = await job.run(
      'trap "" TERM; (setsid sleep 600.25 &) ; nohup sleep 600.25 & echo started; while true; do sleep 600.25; done',
      {
        signal: cancel.signal,
        async write() {
          await expect
            .poll(async () => (await under.processesWith('sleep\u0000600.25')).length, { timeout: 20_000 })
            .toBeGreaterThanOrEqual(2);
          begin = performance.now();
          cancel.abort();
        },
      },
    );
    expect(outcome.exitCode).toBe(-1);
    expect(outcome.killedBecause).toBeUndefined();
    expect(await under.processesWith('sleep\u0000600.25')).toEqual([]);
    // About 1 s on an idle machine.
    expect(performance.now() - begin).toBeLessThan(20_000);
  });

  test('does not start when it is canceled before', async () => {
    await using job = await startJob(runtime, under, directory.path);
    const outcome = await job.run('touch started', { signal: AbortSignal.abort() });
    expect(outcome.exitCode).toBe(-1);
    expect(await job.read('started')).toBeUndefined();
  });

  test('can say a last word when it times out', async () => {
    await using job = await startJob(runtime, under, directory.path);
    const outcome = await job.run('trap "echo bye; exit 1" TERM; sleep 600 & wait', {
      signal: AbortSignal.timeout(4000),
    });
    expect(outcome).toMatchObject({ exitCode: -1, stdout: 'bye\n' });
  });

  test('leaves no process behind when it ends before what it started', async () => {
    await using job = await startJob(runtime, under, directory.path);
    const outcome = await job.run('nohup setsid sleep 600.5 >/dev/null 2>&1 & echo ended');
    expect(outcome).toMatchObject({ exitCode: 0, stdout: 'ended\n' });
    expect(await under.processesWith('sleep\u0000600.5')).toEqual([]);
  });

  test('is killed for memory, with the reason', async () => {
    await using job = await startJob(runtime, under, directory.path, {
      limits: { memoryBytes: 64 * 1024 * 1024 },
    });
    const outcome = await job.run('exec tail /dev/zero');
    expect(outcome.exitCode).toBe(-1);
    expect(outcome.killedBecause).toContain('more memory than its limit of 64 MiB');
    expect((await job.run('echo next')).stdout).toBe('next\n');
  });

  test('cannot start processes without end', async () => {
    const strict = under.open({ dataDirectory: directory.path, warnings, maxProcesses: 100 });
    await using job = await startJob(strict, under, directory.path);
    const outcome = await job.run('i=0; while [ $i -lt 200 ]; do sleep 600.75 & i=$((i+1)); done; echo all');
    expect(outcome.exitCode).not.toBe(0);
    expect(outcome.stdout).toBe('');
    expect(outcome.stderr).toContain("can't fork");
    const cancel = new AbortController();
    const bomb = job.run('bomb() { bomb | bomb & }; echo lit; bomb; while true; do sleep 600.75; done', {
      signal: cancel.signal,
      write: async (stream) => void (stream === 'stdout' && setTimeout(() => cancel.abort(), 1000)),
    });
    expect((await bomb).exitCode).toBe(-1);
    expect(await under.processesWith('sleep\u0000600.75')).toEqual([]);
    await job[Symbol.asyncDispose]();
    await strict[Symbol.asyncDispose]();
  });

  testOf('docker')('is killed when it fills the disk, in the workspace or elsewhere', async () => {
    await using job = await startJob(runtime, under, directory.path, {
      limits: { diskBytes: 16 * 1024 * 1024 },
    });
    for (const file of ['/data/big', '/root/big']) {
      const outcome = await job.run(`fallocate -l ${2 * gibibyte} ${file} && sleep 60`);
      expect(outcome.exitCode).toBe(-1);
      expect(outcome.killedBecause).toContain('disk space, more than its 16 MiB');
      expect(outcome.usage.diskBytes).toBeGreaterThan(2 * gibibyte);
      await job.run('rm -f /data/big');
    }
  });

  testOf('microvm')('is told when it fills its disk, in the workspace or elsewhere', async () => {
    await using job = await startJob(runtime, under, directory.path, {
      limits: { diskBytes: 64 * 1024 * 1024 },
    });
    for (const [file, where] of [
      ['/data/big', "the job's workspace"],
      ['/root/big', 'what the step wrote outside'],
    ] as const) {
      job.notices.length = 0;
      const outcome = await job.run(`dd if=/dev/zero of=${file} bs=1M count=100`);
      expect(outcome.exitCode).toBe(1);
      expect(job.notices.join()).toMatch(new RegExp(`the disk is full.*${where}.*limit of 64 MiB`));
      expect(outcome.usage.diskBytes).toBeGreaterThan(40 * 1024 * 1024);
      await job.run('rm -f /data/big');
    }
    expect((await job.run('echo next >next && cat next')).stdout).toBe('next\n');
  });

  test('is killed when the machine runs out of disk space', async () => {
    const short = under.open({ dataDirectory: directory.path, warnings, minFreeDiskBytes: 2 ** 60 });
    await using job = await startJob(short, under, directory.path);
    const outcome = await job.run('sleep 60');
    expect(outcome.exitCode).toBe(-1);
    expect(outcome.killedBecause).toContain('that are kept free');
    await job[Symbol.asyncDispose]();
    await short[Symbol.asyncDispose]();
  });

  test('gets no more CPUs than the machine has, and says so', async () => {
    await using job = await startJob(runtime, under, directory.path, { limits: { numCPUs: 500 } });
    expect((await job.run('true')).exitCode).toBe(0);
    expect(job.notices.join()).toMatch(/gets \d+ CPUs/);
  });

  test('reports what it used', async () => {
    await using job = await startJob(runtime, under, directory.path);
    const { usage } = await job.run(
      'dd if=/dev/zero of=file bs=1M count=20; dd if=/dev/zero of=/dev/null bs=1M count=3000',
    );
    expect(usage.cpuSeconds).toBeGreaterThan(0.05);
    expect(usage.cpuSeconds).toBeLessThan(200);
    expect(usage.peakMemoryBytes).toBeGreaterThan(1024 * 1024);
    expect(usage.diskBytes).toBeGreaterThanOrEqual(20 * 1024 * 1024);
    expect(usage).toMatchObject({ networkRxBytes: 0, networkTxBytes: 0 });
  });

  test('cannot gain privileges, but can do what package managers do', async () => {
    await using job = await startJob(runtime, under, directory.path);
    const outcome = await job.run(
      [
        'grep -E "NoNewPrivs|Seccomp:" /proc/self/status',
        'touch /tmp/f && chown 65534:65534 /tmp/f && chmod 4755 /tmp/f && su nobody -s /bin/sh -c "id -u"',
        'mknod /tmp/disk b 254 0 2>&1; mount -t tmpfs none /mnt 2>&1; hostname other 2>&1',
        'ls /var/run/docker.sock 2>&1',
        'cat /proc/1/comm',
      ].join('\n'),
    );
    expect(outcome.stdout).toMatch(/NoNewPrivs:\s*1\nSeccomp:\s*2\n65534\n/);
    expect(
      outcome.stdout.match(/Operation not permitted|permission denied|No such file/gi)?.length,
    ).toBeGreaterThanOrEqual(4);
    expect(outcome.stdout).toMatch(/docker-init|tini/);
  });

  test('leaves files that are read only where they are plain files of the workspace', async () => {
    await using job = await startJob(runtime, under, directory.path, {
      prepare: (workspace) => symlink('/etc/hostname', join(workspace, 'outside')),
    });
    await job.run(
      'mkdir d; echo text > d/f; ln -s /etc/passwd d/link; ln -s d e; mkfifo d/pipe; ln -s / root; dd if=/dev/zero of=d/big bs=1k count=2',
    );
    const read = (path: string) => job.read(path, 1000);
    expect(await read('d/f')).toBe('text\n');
    for (const path of [
      'd/link',
      'e/f',
      'd/pipe',
      'root/etc/passwd',
      '../x',
      'd',
      'd/none',
      'd/big',
      '/etc/passwd',
    ])
      expect(await read(path), path).toBeUndefined();
    expect(await read('outside')).toBeUndefined();
  });

  test('has a file by which it skips others removed', async () => {
    await using job = await startJob(runtime, under, directory.path);
    expect(await job.sandbox.removeFile('skip.json')).toBe(false);
    await job.run('echo {} >skip.json; ln -s /etc/passwd link; mkdir directory');
    for (const name of ['skip.json', 'link', 'directory'])
      expect(await job.sandbox.removeFile(name)).toBe(true);
    expect((await job.run('ls')).stdout).toBe('directory\nstep.sh\n');
    await expect(job.sandbox.removeFile('../x')).rejects.toThrow('is not a file name');
  });

  test('says why it could not be started', async () => {
    await using job = await startJob(runtime, under, directory.path);
    await expect(job.run('true', { image: 'Not An Image' })).rejects.toThrow('is not an image reference');
    await expect(job.run('true', { env: [`BIG=${'x'.repeat(200_000)}`] })).rejects.toThrow(
      'environment variable BIG holds more than the 128 KiB',
    );
    expect((await job.run('echo still works')).stdout).toBe('still works\n');
  });

  test('is ended with its sandbox', async () => {
    const job = await startJob(runtime, under, directory.path);
    const started = Promise.withResolvers<void>();
    const running = job.run('echo started; sleep 600.875', { write: async () => started.resolve() });
    await started.promise;
    await job[Symbol.asyncDispose]();
    expect((await running).exitCode).toBe(-1);
    expect(await under.processesWith('sleep\u0000600.875')).toEqual([]);
    await job[Symbol.asyncDispose]();
  });
});
