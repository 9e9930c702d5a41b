import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { RunningProcess } from './running-process.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'kiln-process-'));
});
afterEach(() => rm(directory, { recursive: true }));

function start(script: string): RunningProcess {
  return new RunningProcess({
    name: 'the program',
    program: '/bin/sh',
    args: ['-c', script],
    cwd: directory,
    env: { PATH: process.env['PATH'] },
    logFile: path.join(directory, 'log'),
  });
}

it('waits for a line that is written later', async () => {
  await using program = start('sleep 0.1; echo "ready on 42"; sleep 60');
  expect((await program.waitForLine(/^ready on (\d+)$/, 10))[1]).toBe('42');
  expect((await program.waitForLine(/ready/, 10))[0]).toBe('ready');
  expect(program.running).toBe(true);
});

it('quotes the log of a program that ends too early', async () => {
  await using program = start('echo "the port is taken" >&2; exit 3');
  await expect(program.waitForLine(/ready/, 10)).rejects.toThrow(
    /^the program ended \(exit code 3\) before it wrote \/ready\/[\s\S]*the port is taken/,
  );
});

it('does not wait for ever', async () => {
  await using program = start('sleep 60');
  await expect(program.waitForLine(/ready/, 0.05)).rejects.toThrow('did not write /ready/ within 0.05 s');
});

it('says when the program cannot be started', async () => {
  const program = new RunningProcess({
    name: 'nothing',
    program: path.join(directory, 'absent'),
    args: [],
    cwd: directory,
    env: {},
    logFile: path.join(directory, 'log'),
    outlives: true,
  });
  await expect(program.waitForLine(/ready/, 5)).rejects.toThrow('nothing ended (could not be started)');
});

it('ends with the process that started it, even when that one is killed', async () => {
  const script = `
    import { RunningProcess } from ${JSON.stringify(path.join(import.meta.dirname, 'running-process.ts'))};
    const program = new RunningProcess({ name: 'program', program: '/bin/sh', args: ['-c', 'echo ready; exec sleep 60'],
      cwd: '/', env: process.env, logFile: ${JSON.stringify(path.join(directory, 'inner'))} });
    await program.waitForLine(/ready/, 10);
    console.log('pid ' + program.pid);
    setInterval(() => {}, 1000);`;
  const starter = new RunningProcess({
    name: 'starter',
    program: process.execPath,
    args: ['--input-type=module-typescript', '--eval', script],
    cwd: directory,
    env: { PATH: process.env['PATH'] },
    logFile: path.join(directory, 'log'),
  });
  const pid = Number((await starter.waitForLine(/^pid (\d+)$/, 20))[1]);
  starter.kill();
  await expect.poll(() => isRunning(pid), { timeout: 10_000 }).toBe(false);
});

it('kills a program that does not end when asked, with what it started', async () => {
  const program = start('trap "" TERM; sleep 60 & echo "child $!"; while :; do sleep 1; done');
  const child = Number((await program.waitForLine(/^child (\d+)$/, 10))[1]);
  expect(await program.stop(0.1)).toEqual({ code: null, signal: 'SIGKILL' });
  await expect.poll(() => isRunning(child)).toBe(false);
});

async function isRunning(pid: number): Promise<boolean> {
  const { readFile } = await import('node:fs/promises');
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return status !== '' && !/^State:\s+Z/m.test(status);
}
