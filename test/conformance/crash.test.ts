import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { dockerUnderTest } from './docker.ts';
import { microvmUnderTest } from './microvm.ts';
import { type RuntimeUnderTest, startJob, testDirectory } from './runtime-under-test.ts';

describe.each([
  { name: 'docker', start: dockerUnderTest },
  { name: 'microvm', start: microvmUnderTest },
])('after a crash of the executor with $name', ({ name, start }) => {
  let under: RuntimeUnderTest;
  beforeAll(async () => {
    under = await start();
  });
  afterAll(async () => {
    await under?.[Symbol.asyncDispose]();
  });

  test('the next one removes what the dead one left, and nothing else', async () => {
    await using directory = await testDirectory();
    const warnings: string[] = [];
    await using runtime = under.open({ dataDirectory: directory.path, warnings });
    await using ownJob = await startJob(runtime, under, directory.path, { network: 'public' });

    const dead = spawn(
      process.execPath,
      [join(import.meta.dirname, 'crashing-executor.ts'), name, directory.path, under.image, under.address],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    await once(dead.stdout, 'data');
    // It lives: what it has is its own.
    await runtime.sweep(AbortSignal.timeout(60_000));
    expect(await under.processesOf(77, 2)).toHaveLength(1);

    dead.kill('SIGKILL');
    await once(dead, 'exit');
    expect((await under.leftovers()).filter((item) => item.includes('-77-2'))).not.toEqual([]);

    await runtime.sweep(AbortSignal.timeout(60_000));
    expect(await under.processesOf(77, 2)).toEqual([]);
    expect((await under.leftovers()).filter((item) => item.includes('-77-2'))).toEqual([]);
    // Its own job's network and rules are there still.
    expect((await ownJob.run('echo alive; ip route | wc -l')).stdout).toBe('alive\n2\n');

    await ownJob[Symbol.asyncDispose]();
    expect(await under.leftovers()).toEqual([]);
    await runtime.sweep(AbortSignal.timeout(60_000));
    expect(warnings).toEqual([]);
  });
});
