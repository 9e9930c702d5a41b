import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { JobView, RepositoryView } from '@kiln/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Dockerd } from '../../tools/docker/index.ts';
import { startTestDockerd } from '../kit/dockerd.ts';
import { testImages } from '../kit/images.ts';
import { startTestSite, type TestSite } from '../kit/processes.ts';
import { createTestRepository, type TestRepository } from '../kit/repository.ts';

const run = promisify(execFile);
const { busybox, git } = testImages;

let dockerd: Dockerd;
let site: TestSite;
let repository: TestRepository;
let commit: string;

beforeAll(async () => {
  dockerd = await startTestDockerd();
  repository = await createTestRepository();
  await repository.commit({ 'README.md': '# Widgets\n' }, 'First');
  await repository.commit({ 'a.txt': 'a\n' }, 'Second');
  commit = await repository.commit({ 'src/b.txt': 'b\n' }, 'Third');
  site = await startTestSite({ dockerSocket: dockerd.socketPath });
  await site.startExecutor();
  await site.kilnJson<RepositoryView>(['repo', 'add', 'test/widgets', repository.directory]);
});

afterAll(async () => {
  await site?.[Symbol.asyncDispose]();
  await dockerd?.stop();
  await repository?.[Symbol.asyncDispose]();
});

describe('a job from submit to outcome, through real processes', () => {
  it('three steps in two images share a workspace with the repository', async () => {
    const job = {
      repository: 'test/widgets',
      revision: 'main',
      clone: { depth: 0 },
      files: { 'added/by submit.txt': 'from the job\n' },
      steps: [
        {
          key: 'look',
          image: busybox,
          run: 'cat README.md "added/by submit.txt"; pwd; cat >made.txt </dev/null',
        },
        { key: 'history', image: git, run: 'git rev-parse HEAD; git log --format=%s; ls made.txt' },
        {
          image: busybox,
          run: 'echo "$GREETING to $PWD"; echo problem >&2',
          dir: 'src',
          env: { GREETING: 'hi\nyou' },
        },
      ],
    };
    const { code, stdout, stderr } = await site.kiln(['job', 'submit', '--wait', '--file', '-'], {
      stdin: JSON.stringify(job),
    });
    expect(stderr).toContain('step 3/3');
    expect(stderr).toMatch(/^problem$/m);
    expect(stderr).toMatch(/job \d+ completed in /);
    expect(stderr).toContain('isolation: docker');
    expect(code).toBe(0);
    expect(stdout.split('\n')).toEqual([
      '# Widgets',
      'from the job',
      '/data',
      commit,
      'Third',
      'Second',
      'First',
      'made.txt',
      'hi',
      'you to /data/src',
      '',
    ]);
    const view = await newestJob();
    expect(view).toMatchObject({ state: 'completed', commit, attempt: 1, isolation: { runtime: 'docker' } });
    expect(view.steps.map((step) => [step.key, step.state, step.exitCode])).toEqual([
      ['look', 'completed', 0],
      ['history', 'completed', 0],
      ['2', 'completed', 0],
    ]);
  });

  it('the first failing line fails its step, and the steps after it are skipped', async () => {
    const { code, stdout, stderr } = await submit([
      `${busybox}: echo before\nfalse\necho after`,
      `${busybox}: echo never`,
    ]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: 'before\n' });
    expect(stderr).toContain('exit code 1');
    const view = await newestJob();
    expect(view).toMatchObject({ state: 'failed', failureMessage: expect.stringContaining('exit code 1') });
    expect(view.steps.map((step) => step.state)).toEqual(['failed', 'skipped']);
  });

  it('a job that runs past its time limit fails as such, and what it ran is gone', async () => {
    const { code, stderr } = await submit([`${busybox}: echo started; sleep 1000`], ['--timeout', '2s']);
    expect(code).toBe(1);
    expect(stderr).toContain('failed (timeout)');
    const view = await newestJob();
    expect(view).toMatchObject({ state: 'failed', failureKind: 'timeout' });
    expect(await containers()).toEqual([]);
  });

  it('cancel kills a running step at once', async () => {
    const job = await site.kilnJson<JobView>(['job', 'submit', '-s', `${busybox}: echo started; sleep 1000`]);
    const waiting = site.kiln(['job', 'logs', '--follow', String(job.id)]);
    await outputOf(job.id, 'started');
    const canceledMs = performance.now();
    expect((await site.kiln(['job', 'cancel', String(job.id)])).code).toBe(0);
    expect((await waiting).stdout).toContain('[step.docker.0] killed');
    // Six seconds are what a plain executor may take; with the machine's own delays that tells a kill from a time limit.
    expect(performance.now() - canceledMs).toBeLessThan(60_000);
    expect(await show(job.id)).toMatchObject({ state: 'canceled', cancelRequested: true });
    expect(await containers()).toEqual([]);
    expect((await site.kiln(['job', 'cancel', String(job.id)])).code).toBe(2);
  });

  it('a canceled job can be tried again, and --wait says canceled by its exit code', async () => {
    const job = await site.kilnJson<JobView>(['job', 'submit', '-s', `${busybox}: sleep 12; echo done`]);
    await site.kiln(['job', 'cancel', String(job.id)]);
    const first = await site.kiln(['job', 'logs', '--follow', String(job.id)]);
    expect(first.code).toBe(0);
    const again = await site.kiln(['job', 'retry', '--wait', String(job.id)]);
    expect(again).toMatchObject({ code: 0, stdout: 'done\n' });
    expect((await show(job.id)).state).toBe('completed');
  });

  it('a file in a private place of the workspace is refused before anything runs', async () => {
    for (const file of [
      '.git/hooks/post-checkout',
      '.sourcegraph-executor/0.sh',
      '../outside',
      '/etc/passwd',
    ]) {
      const job = { steps: [{ image: busybox, run: 'true' }], files: { [file]: 'x' } };
      const { code, stderr } = await site.kiln(['job', 'submit', '--file', '-'], {
        stdin: JSON.stringify(job),
      });
      expect(code).toBe(2);
      expect(stderr).toContain('files');
    }
  });

  it('keeps binary output byte for byte', async () => {
    const script = `printf '\\000\\001\\377\\376\\033[2J'; seq 1 300; printf '\\200 no newline at the end'`;
    const { code, stdout } = await submit([`${busybox}: ${script}`]);
    expect(code).toBe(0);
    expect(stdout).not.toContain('\x1b');
    const { id } = await newestJob();
    const response = await fetch(`${site.instance.url}/.api/jobs/${id}/log`, {
      headers: { authorization: `token ${site.instance.adminToken}`, accept: 'text/plain' },
    });
    const log = Buffer.from(await response.arrayBuffer());
    const numbers = Array.from({ length: 300 }, (_, index) => `stdout: ${index + 1}\n`)
      .slice(1)
      .join('');
    const first = Buffer.concat([
      Buffer.from('stdout: '),
      Buffer.from([0, 1, 0xff, 0xfe, 0x1b]),
      Buffer.from('[2J1\n'),
    ]);
    const last = Buffer.concat([
      Buffer.from('stdout: '),
      Buffer.from([0x80]),
      Buffer.from(' no newline at the end'),
    ]);
    expect(log.includes(Buffer.concat([first, Buffer.from(numbers), last]))).toBe(true);
  });

  it('an unknown revision, repository or image is named', async () => {
    const step = ['-s', `${busybox}: true`];
    const revision = await site.kiln([
      'job',
      'submit',
      '-r',
      'test/widgets',
      '--rev',
      'no-such-branch',
      ...step,
    ]);
    expect(revision).toMatchObject({ code: 2, stderr: expect.stringContaining('no-such-branch') });
    const unknown = await site.kiln(['job', 'submit', '-r', 'test/absent', ...step]);
    expect(unknown).toMatchObject({ code: 2, stderr: expect.stringContaining('test/absent') });
    const image = await submit(['kiln-test/absent:1: true']);
    expect(image).toMatchObject({ code: 1, stderr: expect.stringContaining('kiln-test/absent:1') });
  });

  it('goes on when the instance restarts during a job, and loses nothing', async () => {
    const script = 'for n in 1 2 3 4 5 6 7 8 9 10 11 12; do echo "line $n"; sleep 1; done';
    const job = await site.kilnJson<JobView>(['job', 'submit', '-s', `${busybox}: ${script}`]);
    const following = site.kiln(['job', 'logs', '--follow', String(job.id)]);
    await outputOf(job.id, 'line 2');
    site.instance.process.kill();
    await site.instance.process.exited;
    await site.restartInstance();
    const { code, stdout, stderr } = await following;
    expect(stderr).toContain('connected again');
    expect(stdout.match(/^line \d+$/gm)).toEqual(
      Array.from({ length: 12 }, (_, index) => `line ${index + 1}`),
    );
    expect(code).toBe(0);
    expect(await show(job.id)).toMatchObject({ state: 'completed', attempt: 1 });
  });

  it('an executor with the wrong shared secret says so', async () => {
    await expect(
      site.startExecutor(
        { EXECUTOR_FRONTEND_PASSWORD: 'not-the-secret-of-this-instance' },
        { readySeconds: 40 },
      ),
    ).rejects.toThrow(/EXECUTOR_FRONTEND_PASSWORD|shared secret|access token/);
  });

  it('refuses a second instance on the same data directory', async () => {
    const { stderr, code } = await site.kiln([
      'serve',
      '--data',
      site.instance.dataDirectory,
      '--listen',
      '127.0.0.1:0',
    ]);
    expect(code).toBe(2);
    expect(stderr).toContain(site.instance.dataDirectory);
  });
});

function submit(steps: readonly string[], options: readonly string[] = []) {
  return site.kiln(['job', 'submit', '--wait', ...options, ...steps.flatMap((step) => ['--step', step])]);
}

async function newestJob(): Promise<JobView> {
  const { jobs } = await site.kilnJson<{ jobs: { id: number }[] }>(['job', 'list', '--first', '1']);
  return show(jobs[0]?.id ?? 0);
}

function show(id: number): Promise<JobView> {
  return site.kilnJson<JobView>(['job', 'show', String(id)]);
}

/** Resolves when the log of a job holds a text. */
async function outputOf(id: number, text: string): Promise<void> {
  const stop = new AbortController();
  const { url, adminToken } = site.instance;
  const response = await fetch(`${url}/.api/jobs/${id}/log?follow=1`, {
    headers: { authorization: `token ${adminToken}`, accept: 'text/plain' },
    signal: AbortSignal.any([stop.signal, AbortSignal.timeout(60_000)]),
  });
  let seen = '';
  for await (const chunk of response.body ?? []) {
    seen += Buffer.from(chunk).toString();
    if (seen.includes(text)) break;
  }
  stop.abort();
  expect(seen).toContain(text);
}

/** Names of the containers that the daemon has, running or not. */
async function containers(): Promise<string[]> {
  const { stdout } = await run('docker', [
    '--host',
    `unix://${dockerd.socketPath}`,
    'ps',
    '--all',
    '--format',
    '{{.Names}}',
  ]);
  return stdout.split('\n').filter((line) => line !== '');
}
