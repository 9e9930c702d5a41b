import { chmod, lstat, mkdir, mkdtemp, readdir, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openImageStore } from '../../apps/executor/src/runtimes/microvm/images/index.ts';
import { createMicrovmRuntime, type MicrovmRuntime } from '../../apps/executor/src/runtimes/microvm/index.ts';
import type { Sandbox, StepResult } from '../../apps/executor/src/runtimes/runtime.ts';
import { busyboxImage } from '../kit/busybox-image.ts';
import { guestBuildMs, sharedGuest } from '../kit/guest.ts';
import { dockerArchive } from '../kit/made-images.ts';

/**
 * Guests that are not ours any more: commands run as the VM's root, outside any container, as if a step had broken out.
 * The machine outside must not notice more than that a job has failed.
 */
const mebibyte = 2 ** 20;
const limits = { numCPUs: 1, memoryBytes: 192 * mebibyte, diskBytes: 300 * mebibyte };
/** A VM under emulation, on a machine that has other things to do. */
const bootMs = 240_000;
const endsMs = 180_000;

let dataDirectory: string;
let runtime: MicrovmRuntime;
const warnings: string[] = [];
const sandboxes: Sandbox[] = [];

beforeAll(async () => {
  dataDirectory = await mkdtemp(join(tmpdir(), 'kiln-guests-'));
  await symlink(join(await sharedGuest(), 'guest'), join(dataDirectory, 'guest'));
  await loadBusybox();
  runtime = createMicrovmRuntime({
    executorName: 'hostile-00000000',
    vmPrefix: 'hostile',
    dataDirectory,
    maxImageBytes: 2 ** 30,
    allowLocalImages: true,
    instanceURL: new URL('http://127.0.0.1:1'),
    minFreeDiskBytes: 0,
    warn: (message, error) => warnings.push(`${message}: ${error}`),
  });
}, guestBuildMs);
afterEach(async () => {
  for (const sandbox of sandboxes.splice(0)) await sandbox[Symbol.asyncDispose]();
  expect(await leftovers()).toEqual([]);
  expect(warnings).toEqual([]);
});
afterAll(async () => {
  await runtime?.[Symbol.asyncDispose]();
  await rm(dataDirectory, { recursive: true, force: true });
});

describe('a guest that stays', () => {
  test('floods its console and its output, and the executor holds next to nothing of it', {
    timeout: 4 * bootMs,
  }, async () => {
    const job = await startJob();
    const memory = () => process.memoryUsage().rss;
    const before = memory();
    const stop = new AbortController();
    const flood = job.asRoot('timeout 8 cat /dev/zero >/dev/console; true');
    let received = 0;
    const flooding = job.run('cat /dev/zero', {
      signal: stop.signal,
      write: async (bytes) => {
        received += bytes.length;
        await new Promise((resolve) => setTimeout(resolve, 100));
      },
    });
    await flood;
    stop.abort();
    await flooding;
    expect(received).toBeGreaterThan(0);
    expect(received).toBeLessThan(100 * mebibyte);
    expect(memory() - before).toBeLessThan(150 * mebibyte);
    expect((await job.run('echo fine')).output).toBe('fine\n');
  });

  test('presents absurd results, none of which is taken for a file', { timeout: 4 * bootMs }, async () => {
    const job = await startJob();
    await job.asRoot(`
      cd /work
      echo good >good; truncate -s 1T huge; truncate -s 2000 large; mkfifo fifo; mknod disk b 254 0; mknod zero c 1 5
      ln -s /etc/passwd out; ln -s . here; ln -s loop loop; ln good twice; mkdir directory
      deep=deep; mkdir $deep; i=0; while [ $i -lt 300 ]; do deep=$deep/d; i=$((i+1)); done; mkdir -p $deep; echo deep >$deep/f
      : >"$(printf 'n%.0s' $(seq 255))"`);
    const read = async (path: string) =>
      Buffer.from((await job.sandbox.readFile(path, 1000)) ?? []).toString();
    expect(await read('good')).toBe('good\n');
    for (const path of [
      'huge',
      'large',
      'fifo',
      'disk',
      'zero',
      'out',
      'loop',
      'directory',
      'directory/',
      'here/good',
      'good/x',
      '../etc/passwd',
      '/',
      '',
      `${'x/'.repeat(3000)}f`,
      'n'.repeat(256),
      'n'.repeat(255),
    ])
      expect(await read(path), path.slice(0, 40)).toBe('');
    expect(await read(`deep/${'d/'.repeat(300)}f`)).toBe('deep\n');
  });
});

describe('a guest that takes all there is', () => {
  test('of its disks: this machine gives it no more than they have, and a next step is told', {
    timeout: 4 * bootMs,
  }, async () => {
    const job = await startJob();
    await job.asRoot(
      'for d in /work /run/scratch; do dd if=/dev/urandom of=$d/fill bs=1M 2>/dev/null; done; sync; df /work /run/scratch >&2; true',
    );
    expect(await takenByVms()).toBeLessThan(2.2 * limits.diskBytes);
    const outcome = await job.run('echo more >/data/more; echo told').catch((error: Error) => error);
    expect('output' in outcome ? outcome.output : outcome.message).toMatch(/no space left|told/i);
    await within(endsMs, job.sandbox[Symbol.asyncDispose]());
  });

  test('of its memory: what takes it is killed, and the job goes on', { timeout: 4 * bootMs }, async () => {
    const job = await startJob();
    const memory = process.memoryUsage().rss;
    await job.asRoot(`perl -e 'my @all; push @all, "x" x 1e6 while 1' 2>/dev/null; true`);
    await job.asRoot('dd if=/dev/zero of=/run/fill bs=1M 2>/dev/null; rm -f /run/fill; true');
    expect(process.memoryUsage().rss - memory).toBeLessThan(100 * mebibyte);
    expect((await job.run('echo fine')).output).toBe('fine\n');
  });

  test('of its memory, shielded from the kernel: the VM ends, and nothing else', {
    timeout: 4 * bootMs,
  }, async () => {
    const job = await startJob();
    const running = job.run('echo started; sleep 1000');
    await job.started;
    const hostile = job
      .asRoot(
        `for p in /proc/[0-9]*; do echo -1000 >$p/oom_score_adj; done 2>/dev/null; perl -e 'my @all; push @all, "x" x 1e6 while 1'`,
      )
      .catch(() => undefined);
    const outcome = await within(
      endsMs,
      running.then(
        () => 'a result',
        (error: Error) => error,
      ),
    );
    expect(outcome).toMatchObject({ name: 'SandboxError', infrastructure: true });
    await within(endsMs, job.sandbox[Symbol.asyncDispose]());
    await hostile;
  });

  test('of its processes: the job ends, and so does the bomb', { timeout: 4 * bootMs }, async () => {
    const job = await startJob();
    const stop = new AbortController();
    const running = job.run('echo started; sleep 1000', { signal: stop.signal });
    await job.started;
    // Out of the group that ends with its command.
    const bomb = 'echo $$ >/sys/fs/cgroup/cgroup.procs; bomb() { bomb | bomb & }; bomb; echo lit';
    const hostile = job.asRoot(bomb).catch(() => undefined);
    await within(endsMs, Promise.race([hostile, running.catch(() => undefined)]));
    stop.abort();
    await within(
      endsMs,
      running.catch(() => undefined),
    );
    await within(endsMs, job.sandbox[Symbol.asyncDispose]());
    expect(await qemuProcesses()).toEqual([]);
    await hostile;
  });
});

test('a guest that answers and does nothing more is ended when its job is', {
  timeout: 3 * bootMs,
}, async () => {
  const job = await startJob();
  const stop = new AbortController();
  const running = job.run('echo started; until [ -e go ]; do sleep 0.1; done', {
    signal: stop.signal,
  });
  await job.started;
  // What the executor asks of the guest after a step goes through its shell.
  await job.asRoot(`
    cat >/run/forever <<'END'
#!/usr/bin/perl
sleep 1000 while 1;
END
    chmod +x /run/forever; mount --bind /run/forever /bin/sh; : >/work/go`);
  const outcome = running.then(
    () => 'a result',
    (error: Error) => error,
  );
  expect(
    await within(
      5000,
      outcome.then(() => true),
    ).catch(() => 'still running'),
  ).toBe('still running');
  stop.abort();
  expect(await within(endsMs, outcome)).toMatchObject({ name: 'SandboxError' });
});

describe('a guest that is lost', () => {
  /** Process 1 keeps starting the agent, in a process that looks like itself but for the port that it has open. */
  const toAgent = (signal: string) =>
    `for p in /proc/[0-9]*; do [ $p = /proc/1 ] || ! ls -l $p/fd 2>/dev/null | grep -q vport || kill -${signal} $(basename $p); done`;
  test.each<[string, string, RegExp]>([
    ['reboots', 'echo b >/proc/sysrq-trigger', /the VM (was )?ended/],
    ['powers off', 'echo o >/proc/sysrq-trigger', /the VM (was )?ended/],
    ['panics', 'echo c >/proc/sysrq-trigger', /the VM (was )?ended/],
    ['kills its agent', toAgent('KILL'), /the VM (was )?ended/],
    [
      'takes its control channel and babbles',
      `echo $$ >/sys/fs/cgroup/cgroup.procs; ${toAgent('KILL')}; while :; do for p in /dev/vport*; do cat /dev/urandom >$p; done; done 2>/dev/null`,
      /the VM (was )?ended/,
    ],
  ])('%s: the job fails with the reason', { timeout: 3 * bootMs }, async (_, script, message) => {
    const job = await startJob();
    const running = job.run('echo started; sleep 1000');
    await job.started;
    const hostile = job.asRoot(script).catch(() => undefined);
    const outcome = await within(
      endsMs,
      running.then(
        () => 'a result',
        (error: Error) => error,
      ),
    );
    expect(outcome).toMatchObject({
      name: 'SandboxError',
      infrastructure: true,
      message: expect.stringMatching(message),
    });
    await within(endsMs, job.sandbox[Symbol.asyncDispose]());
    await hostile;
  });

  test('stops its agent: a canceled step ends all the same', { timeout: 3 * bootMs }, async () => {
    const job = await startJob();
    const stop = new AbortController();
    const running = job.run('echo started; sleep 1000', { signal: stop.signal });
    await job.started;
    const hostile = job.asRoot(toAgent('STOP')).catch(() => undefined);
    stop.abort();
    await within(
      endsMs,
      running.catch(() => undefined),
    );
    await within(endsMs, job.sandbox[Symbol.asyncDispose]());
    await hostile;
  });

  test('destroys its file systems: what is read of them is nothing or an error, and it goes away', {
    timeout: 3 * bootMs,
  }, async () => {
    const job = await startJob();
    await job.run('echo result >/data/result');
    await job
      .asRoot(
        'sync; for d in vda vdb vdc vdd vde; do [ "$(cat /sys/block/$d/ro)" = 0 ] && dd if=/dev/urandom of=/dev/$d bs=1M count=64 2>/dev/null; done; echo 3 >/proc/sys/vm/drop_caches',
      )
      .catch(() => undefined);
    await within(
      endsMs,
      job.run('cat /data/*; ls -lR /data; echo x >/data/more').catch(() => undefined),
    );
    await within(
      endsMs,
      job.sandbox.readFile('result', 1000).catch(() => undefined),
    );
    await within(endsMs, job.sandbox[Symbol.asyncDispose]());
  });
});

interface RunOptions {
  signal?: AbortSignal;
  write?: (bytes: Uint8Array) => Promise<void>;
}

let jobs = 0;

async function startJob() {
  jobs += 1;
  const workspaceDirectory = join(dataDirectory, `workspace-${jobs}`);
  await mkdir(workspaceDirectory);
  await chmod(workspaceDirectory, 0o777);
  await writeFile(join(workspaceDirectory, 's.sh'), 'eval "$SCRIPT"\n');
  const sandbox = await runtime.create(
    {
      id: jobs,
      attempt: 1,
      workspaceDirectory,
      images: ['hostile:1'],
      network: 'none',
      limits,
      registryAuth: {},
      notice: () => undefined,
    },
    AbortSignal.timeout(bootMs),
  );
  sandboxes.push(sandbox);
  const started = Promise.withResolvers<void>();
  return {
    sandbox,
    /** The first output of any step. */
    started: started.promise,
    async run(script: string, options: RunOptions = {}): Promise<StepResult & { output: string }> {
      const chunks: Uint8Array[] = [];
      const result = await sandbox.run(
        { name: '0', image: 'hostile:1', scriptPath: 's.sh', dir: '', env: [`SCRIPT=${script}`] },
        {
          async write(_, bytes) {
            started.resolve();
            if (options.write) await options.write(bytes);
            else chunks.push(Buffer.from(bytes));
          },
        },
        options.signal ?? new AbortController().signal,
      );
      return { ...result, output: Buffer.concat(chunks).toString() };
    },
    /** In the VM, outside any container. */
    async asRoot(script: string): Promise<string> {
      return (await runtime.inEach(['/bin/sh', '-c', script])).join();
    },
  };
}

async function loadBusybox(): Promise<void> {
  const path = join(dataDirectory, 'image.tar');
  await writeFile(path, dockerArchive(await busyboxImage(), ['hostile:1']));
  const store = openImageStore({
    directory: join(dataDirectory, 'images'),
    allowLocalImages: true,
    registryMirrorURLs: [],
    maxBytes: 2 ** 30,
  });
  await store.load({ path }, AbortSignal.timeout(120_000));
}

/** Everything of any VM of this test: files, records, processes. */
async function leftovers(): Promise<string[]> {
  const found: string[] = [];
  for (const kind of ['vms', 'records'])
    for (const name of await readdir(join(dataDirectory, 'microvm', kind)).catch(() => []))
      found.push(`${kind} ${name}`);
  return [...found, ...(await qemuProcesses()).map((pid) => `process ${pid}`)];
}

/** Bytes of this machine's disk that the VMs' own files take. */
async function takenByVms(): Promise<number> {
  let bytes = 0;
  const vms = join(dataDirectory, 'microvm', 'vms');
  for (const name of await readdir(vms, { recursive: true })) {
    const stats = await lstat(join(vms, name));
    // Shared files (kernel, root, images) have other names too.
    if (stats.isFile() && stats.nlink === 1) bytes += 512 * stats.blocks;
  }
  return bytes;
}

async function qemuProcesses(): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    // A VMM works in its VM's directory. Other tests have VMs at the same time.
    const cwd = await readlink(join('/proc', pid, 'cwd')).catch(() => '');
    if (cwd.startsWith(dataDirectory)) found.push(pid);
  }
  return found;
}

async function within<Result>(milliseconds: number, work: Promise<Result>): Promise<Result> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`not within ${milliseconds} ms`)), milliseconds);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
