import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { microvmUnderTest } from './microvm.ts';
import { type RuntimeUnderTest, startJob, testDirectory } from './runtime-under-test.ts';

let under: RuntimeUnderTest;
beforeAll(async () => {
  under = await microvmUnderTest();
}, 600_000);
afterAll(async () => {
  await under?.[Symbol.asyncDispose]();
});

const stageSeconds = 120;

/** What is to be seen of the VM in the data directory when a stage of its life has come. */
const stages: Readonly<Record<string, (data: string) => Promise<boolean>>> = {
  'it is recorded': async (data) => (await names(data, 'records')).length > 0,
  'its drives are made': async (data) => {
    const [vm] = await names(data, 'vms');
    return vm !== undefined && exists(join(data, 'microvm/vms', vm, 'work.ext4'));
  },
  'its process waits': async (data) => (await recorded(data)).includes('"process"'),
  'it boots': async (data) => {
    const [vm] = await names(data, 'vms');
    return vm !== undefined && exists(join(data, 'microvm/vms', vm, 'control.sock'));
  },
};

test.each(Object.keys(stages))('nothing stays of a VM whose executor is killed when %s', async (stage) => {
  await using directory = await testDirectory();
  const warnings: string[] = [];
  await using runtime = under.open({ dataDirectory: directory.path, warnings });
  // Guest and images are there when the first sandbox is.
  await (await startJob(runtime, under, directory.path))[Symbol.asyncDispose]();
  await killExecutorWhen(stage, async () => (await stages[stage]?.(directory.path)) ?? false, directory.path);

  await runtime.sweep(AbortSignal.timeout(60_000));
  expect(await under.leftovers()).toEqual([]);
  expect(await under.processesOf(77, 2)).toEqual([]);
  expect(warnings).toEqual([]);
});

test('nothing stays of a snapshot whose executor is killed when it is written', async () => {
  await using directory = await testDirectory();
  const warnings: string[] = [];
  await using runtime = under.open({ dataDirectory: directory.path, warnings });
  await (await startJob(runtime, under, directory.path))[Symbol.asyncDispose]();
  // Those of all tests: this executor is to make its own.
  const snapshots = join(directory.path, 'snapshots');
  await rm(snapshots);
  const isWritten = async () =>
    (await names(directory.path, 'vms')).some((name) => name.endsWith('.snapshot'));
  // One that was complete before its executor was killed is used by the next one: then there is nothing to see here.
  for (let attempt = 1; attempt <= 3; attempt++) {
    await killExecutorWhen('a snapshot is written', isWritten, directory.path);
    const complete = await readdir(snapshots);
    if (complete.length === 0) break;
    for (const name of complete) await rm(join(snapshots, name));
  }

  await runtime.sweep(AbortSignal.timeout(60_000));
  expect(await under.leftovers()).toEqual([]);
  expect(await under.processesOf(0, 0)).toEqual([]);
  expect(await under.processesOf(77, 2)).toEqual([]);
  expect(await readdir(snapshots)).toEqual([]);
  expect(warnings).toEqual([]);
});

async function killExecutorWhen(stage: string, isThere: () => Promise<boolean>, data: string): Promise<void> {
  const crashing = join(import.meta.dirname, 'crashing-executor.ts');
  const dead = spawn(process.execPath, [crashing, 'microvm', data, under.image, under.address], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const exited = once(dead, 'exit');
  const begin = performance.now();
  while (!(await isThere())) {
    expect(performance.now() - begin, `${stage}: not seen`).toBeLessThan(stageSeconds * 1000);
    expect(dead.exitCode).toBeNull();
    await wait(2);
  }
  dead.kill('SIGKILL');
  await exited;
  expect(await under.leftovers()).not.toEqual([]);
}

async function names(data: string, kind: 'records' | 'vms'): Promise<string[]> {
  const found = await readdir(join(data, 'microvm', kind)).catch(() => []);
  return found.filter((name) => !name.endsWith('.new'));
}

async function recorded(data: string): Promise<string> {
  const [name = ''] = await names(data, 'records');
  return readFile(join(data, 'microvm/records', name), 'utf8').catch(() => '');
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
