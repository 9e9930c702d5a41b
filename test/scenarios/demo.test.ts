import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { checkout, programEnvironment } from '../../tools/process/programs.ts';
import { guestBuildMs, sharedGuest } from '../kit/guest.ts';

const run = promisify(execFile);
let data: string;

beforeAll(async () => {
  // Short: a daemon's socket lies below it.
  data = await mkdtemp(path.join(tmpdir(), 'kiln-demo-test-'));
  // Building one is what the tests of the guest try.
  const guest = await sharedGuest();
  await mkdir(path.join(data, 'executor'));
  await symlink(path.join(guest, 'guest'), path.join(data, 'executor/guest'));
}, guestBuildMs);
afterAll(() => rm(data, { recursive: true, force: true }));

it('runs one job in a microVM, shows it live, stops everything and ends with the outcome', async () => {
  const demo = startDemo();
  expect(await demo.code, demo.output()).toBe(0);
  const output = demo.output();
  expect(output).toMatch(
    /step 1\/3 greet[\s\S]*Hello from a sandbox[\s\S]*step 2\/3 history[\s\S]*step 3\/3 report/,
  );
  expect(output).toMatch(/live line one\nlive line two\nlive line three\n/);
  expect(output).toMatch(/job 1 completed in [\d.]+ m?s/);
  expect(output).toMatch(/isolation: microvm, qemu, (kvm|tcg)/);
  expect(output).toMatch(/first output: [\d.]+ m?s after submit/);
  expect(output).toMatch(/stopping everything/);
  expect(await processesOf(data)).toEqual([]);
});

it('stops everything when it is interrupted', async () => {
  const demo = startDemo('--docker');
  await demo.says(/step 1\/3/);
  demo.child.kill('SIGINT');
  expect(await demo.code, demo.output()).toBe(130);
  expect(demo.output()).toContain('interrupted; everything that the demo started has been stopped');
  expect(await processesOf(data)).toEqual([]);
});

it('leaves it running when asked to, once, and says how to use and stop it', async () => {
  const demo = startDemo('--keep', '--docker');
  expect(await demo.code, demo.output()).toBe(0);
  const stop = /to stop it: {2}(.*)/.exec(demo.output())?.[1] ?? '';
  try {
    const [url, dataDirectory] =
      /export KILN_URL=(\S+) KILN_DATA_DIR=(\S+)/.exec(demo.output())?.slice(1) ?? [];
    const env = programEnvironment({ KILN_URL: url, KILN_DATA_DIR: dataDirectory });
    const { stdout } = await run(path.join(checkout, 'bin/kiln'), ['--json', 'job', 'list'], { env });
    expect(JSON.parse(stdout).jobs[0]).toMatchObject({ state: 'completed' });
    expect(demo.output()).toContain('isolation: docker');
    const second = startDemo();
    expect(await second.code).toBe(1);
    expect(second.output()).toContain(`an earlier demo still runs; stop it with:  ${stop}`);
  } finally {
    await run('/bin/sh', ['-c', stop]);
  }
  await expect.poll(() => processesOf(data), { timeout: 60_000 }).toEqual([]);
});

it('says how it is used', async () => {
  const wrong = startDemo('--fast');
  expect(await wrong.code).toBe(2);
  expect(wrong.output()).toMatch(/--fast[\s\S]*usage: npm run demo/);
});

interface Demo {
  child: ChildProcess;
  code: Promise<number | null>;
  output(): string;
  says(line: RegExp): Promise<void>;
}

/** As `npm run demo` starts it. */
function startDemo(...options: string[]): Demo {
  const script = ['tools/node/run', 'tools/demo/main.ts', '--yes', '--data', data, ...options];
  // Nobody's daemon: `DOCKER_HOST` names none.
  const env = programEnvironment();
  const child = spawn('sh', script, { cwd: checkout, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  let looks = (): void => undefined;
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (part: string) => {
      text += part;
      looks();
    });
  return {
    child,
    code: once(child, 'close').then(([code]) => code as number | null),
    output: () => text,
    async says(line) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      looks = () => line.test(text) && resolve();
      child.once('close', () => reject(new Error(`the demo ended without saying ${line}: ${text}`)));
      looks();
      await promise;
    },
  };
}

/** Command lines of the processes that use a directory. */
async function processesOf(directory: string): Promise<string[]> {
  const found: string[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const read = (file: string) => readFile(`/proc/${name}/${file}`, 'utf8').catch(() => '');
    const commandLine = await read('cmdline');
    if (commandLine.includes(directory) || (await read('environ')).includes(directory))
      found.push(commandLine);
  }
  return found;
}
