import { mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openStateDirectory, type StateDirectory, sweepDeadExecutors } from './index.ts';
import type { Owner } from './state-directory.ts';

let data: string;
beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'kiln-janitor-'));
});
afterEach(() => rm(data, { recursive: true, force: true }));

const workspaceName = 'workspace-7-0123456789ab';

/** An executor's directory with a recorded workspace and an outcome; `change` says how its owner differs from us. */
async function leave(name: string, change: Partial<Owner>, silentSeconds = 0): Promise<string> {
  const state = await openStateDirectory(data, name);
  const workspace = join(data, workspaceName);
  await mkdir(workspace, { recursive: true });
  await state.recordWorkspace(workspace);
  await writeFile(join(state.outcomesDirectory, 'jobs-7-1.json'), '{}');
  const file = join(state.directory, 'owner.json');
  const owner = JSON.parse(await readFile(file, 'utf8')) as Owner;
  await writeFile(file, JSON.stringify({ ...owner, ...change }));
  const then = Date.now() / 1000 - silentSeconds;
  await utimes(file, then, then);
  return workspace;
}

async function sweep(name = 'me', unremovable?: string, opened?: StateDirectory) {
  const state = opened ?? (await openStateDirectory(data, name));
  const removed: string[] = [];
  const adopted: string[] = [];
  await sweepDeadExecutors({
    dataDirectory: data,
    state,
    executorName: name,
    adoptOutcome: (path) => void adopted.push(path),
    async removeWorkspace(path) {
      if (path === unremovable) throw new Error(`${path} could not be removed`);
      removed.push(path);
    },
    keepWorkspaces: false,
    log: pino({ level: 'silent' }),
  });
  return { removed, adopted };
}

test.each<[string, Partial<Owner>, number, boolean]>([
  ['a living process', {}, 1000, false],
  ['a process with a pid that was given out again', { startTicks: '1' }, 0, true],
  ['a process of before the last boot', { bootId: 'another' }, 0, true],
  ['a process of another container that was just heard of', { pidNamespace: 'pid:[1]' }, 10, false],
  ['a process of another container that is silent', { pidNamespace: 'pid:[1]' }, 500, true],
  ['a process of another machine that was just heard of', { host: 'other', bootId: 'x' }, 10, false],
  ['a process of another machine that is silent', { host: 'other', bootId: 'x' }, 500, true],
])('%s', async (_what, change, silentSeconds, dead) => {
  const workspace = await leave('other', change, silentSeconds);
  const { removed, adopted } = await sweep();
  expect(removed).toEqual(dead ? [workspace] : []);
  expect(adopted).toEqual(dead ? [join(data, 'executors/me/adopted/other/outcomes/jobs-7-1.json')] : []);
});

test('what a dead executor had taken over is taken over with it, and goes when it is settled', async () => {
  await leave('first', { startTicks: '1' });
  await sweep('second');
  const file = join(data, 'executors/second/owner.json');
  const owner = JSON.parse(await readFile(file, 'utf8')) as Owner;
  await writeFile(file, JSON.stringify({ ...owner, startTicks: '1' }));
  const { adopted } = await sweep('third');
  expect(adopted).toEqual([
    join(data, 'executors/third/adopted/second/adopted/first/outcomes/jobs-7-1.json'),
  ]);
  for (const path of adopted) await rm(path);
  await sweep('third');
  await sweep('third');
  expect(await readdir(join(data, 'executors'))).toEqual(['third']);
  expect(await readdir(join(data, 'executors/third/adopted'))).toEqual([]);
});

test('a workspace that cannot be removed keeps no outcome from its delivery, and is tried again', async () => {
  const workspace = await leave('other', { startTicks: '1' });
  const first = await sweep('me', workspace);
  expect(first.removed).toEqual([]);
  expect(first.adopted).toHaveLength(1);
  for (const path of first.adopted) await rm(path);
  expect((await sweep()).removed).toEqual([workspace]);
  await sweep();
  expect(await readdir(join(data, 'executors/me/adopted'))).toEqual([]);
});

test('an own workspace is removed later when its job could not, and never while the job runs', async () => {
  const state = await openStateDirectory(data, 'me');
  const [running, ended] = ['0', '1'].map((digit) => join(data, `workspace-7-0123456789a${digit}`));
  await state.recordWorkspace(running ?? '');
  (await state.recordWorkspace(ended ?? '')).abandon();
  expect((await sweep('me', undefined, state)).removed).toEqual([ended]);
  expect((await sweep('me', undefined, state)).removed).toEqual([]);
  expect(await state.isEmpty()).toBe(false);
});

test('a damaged record removes nothing', async () => {
  await leave('other', { startTicks: '1' });
  await writeFile(join(data, 'executors/other/workspaces', workspaceName), '/etc');
  expect((await sweep()).removed).toEqual([]);
});

test('state directories are closed to other users', async () => {
  const state = await openStateDirectory(data, 'me');
  expect((await stat(state.directory)).mode & 0o77).toBe(0);
  expect((await stat(state.outcomesDirectory)).mode & 0o77).toBe(0);
});
