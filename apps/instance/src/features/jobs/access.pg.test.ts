import type { CreatedAccessToken, JobDocument, JobList, JobView } from '@kiln/protocol';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addUser, type InstanceUnderTest, startInstanceUnderTest, until } from '../../instance-under-test.ts';

const people = ['dora', 'emil', 'fritz', 'greta', 'mallory'] as const;
type Person = (typeof people)[number];
/**
 * dora and emil are members of acme, fritz is an admin of it, greta is one of another organization. The site admin's
 * build has an access token of scope "jobs".
 */
const callers = [...people, 'site admin', "site admin's build", 'job'] as const;
type Caller = (typeof callers)[number];

const steps = [{ image: 'a', run: 'b' }];
let site: InstanceUnderTest;
const tokens = new Map<Caller, string>();
/** By namespace: dora's own jobs and those that she submitted for acme. */
const jobs: Record<'dora' | 'acme', JobDocument> = {} as never;

beforeAll(async () => {
  site = await startInstanceUnderTest();
  tokens.set('site admin', site.adminToken);
  const forBuilds = { body: { note: 'builds', scope: 'jobs' } };
  const { token } = (await site.call('POST', '/.api/access-tokens', forBuilds)).json as CreatedAccessToken;
  tokens.set("site admin's build", token);
  for (const name of people) tokens.set(name, await addUser(site, name));
  for (const [name, members] of Object.entries({
    acme: { fritz: 'admin', dora: 'member', emil: 'member' },
    other: { greta: 'admin' },
  })) {
    await site.call('POST', '/.api/organizations', { body: { name, admin: Object.keys(members)[0] } });
    for (const [user, role] of Object.entries(members)) {
      await site.call('PUT', `/.api/organizations/${name}/members/${user}`, { body: { role } });
    }
  }
  for (const namespace of ['dora', 'acme'] as const) {
    await submit('dora', namespace);
    const { document } = await site.executor.dequeue();
    if (!document) throw new Error('no job was given out');
    jobs[namespace] = document;
    const entry = {
      key: 'step.docker.0',
      command: ['echo'],
      startTime: new Date(),
      exitCode: 0,
      out: 'stdout: hi\n',
    };
    await site.executor.logEntry(document, { ...entry, durationMs: 1 });
  }
  tokens.set('job', jobs.dora.token ?? '');
});
afterAll(() => site?.[Symbol.asyncDispose]());

function call(caller: Caller, method: string, path: string, body?: object) {
  const token = tokens.get(caller) ?? null;
  return site.call(method, path, { token, ...(body === undefined ? {} : { body }) });
}

async function submit(person: Caller, namespace?: string): Promise<JobView> {
  const reply = await call(person, 'POST', '/.api/jobs', { steps, namespace });
  if (reply.status !== 201) throw new Error(reply.text);
  return reply.json as JobView;
}

describe('who may', () => {
  const see: Record<'dora' | 'acme', readonly Caller[]> = {
    dora: ['dora', 'site admin'],
    acme: ['dora', 'emil', 'fritz', 'site admin'],
  };
  const change: Record<'dora' | 'acme', readonly Caller[]> = {
    dora: ['dora', 'site admin'],
    acme: ['dora', 'fritz', 'site admin'],
  };

  test.each(['dora', 'acme'] as const)('see a job of %s, its log and output', async (namespace) => {
    const { id } = jobs[namespace];
    for (const path of ['', '/log', '/log?follow=0', '/logEntries/1/output']) {
      const seen: Caller[] = [];
      for (const caller of callers) {
        const { status, text } = await call(caller, 'GET', `/.api/jobs/${id}${path}`);
        if (status === 200) seen.push(caller);
        else if (caller === 'job') expect(status).toBe(401);
        else
          expect({ caller, status, text }).toMatchObject({
            status: 404,
            text: expect.stringContaining('unknown_job'),
          });
      }
      expect({ path, seen }).toEqual({
        path,
        seen: callers.filter((caller) => see[namespace].includes(caller)),
      });
    }
  });

  test.each(['dora', 'acme'] as const)('find a job of %s in lists', async (namespace) => {
    for (const caller of callers) {
      if (caller === 'job') continue;
      const { jobs: listed } = (await call(caller, 'GET', '/.api/jobs')).json as JobList;
      const found = listed.some(({ id }) => id === jobs[namespace].id);
      expect({ caller, found }).toEqual({ caller, found: see[namespace].includes(caller) });
      const only = await call(caller, 'GET', `/.api/jobs?namespace=${namespace.toUpperCase()}`);
      if (found) {
        const names = (only.json as JobList).jobs.map((job) => job.namespace);
        expect(new Set(names)).toEqual(new Set([namespace]));
      } else expect(only).toMatchObject({ status: 400, json: { error: { code: 'unknown_namespace' } } });
    }
  });

  test.each(['dora', 'acme'] as const)('cancel and retry a job of %s', async (namespace) => {
    for (const caller of callers) {
      const { id } = await submit('dora', namespace);
      const isAllowed = change[namespace].includes(caller);
      for (const action of ['cancel', 'retry', 'cancel']) {
        const { status } = await call(caller, 'POST', `/.api/jobs/${id}/${action}`);
        const refused = caller === 'job' ? 401 : see[namespace].includes(caller) ? 403 : 404;
        expect({ caller, action, status }).toEqual({ caller, action, status: isAllowed ? 200 : refused });
      }
      const { state } = (await call('site admin', 'GET', `/.api/jobs/${id}`)).json as JobView;
      expect({ caller, state }).toEqual({ caller, state: isAllowed ? 'canceled' : 'queued' });
    }
  });

  test('submit for whom', async () => {
    const allowed: Record<Person, readonly string[]> = {
      dora: ['dora', 'acme'],
      emil: ['emil', 'acme'],
      fritz: ['fritz', 'acme'],
      greta: ['greta', 'other'],
      mallory: ['mallory'],
    };
    for (const person of people) {
      for (const namespace of [...people, 'acme', 'other', 'nobody']) {
        const reply = await call(person, 'POST', '/.api/jobs', { steps, namespace });
        const isAllowed = allowed[person].includes(namespace);
        expect({ person, namespace, status: reply.status }).toEqual({
          person,
          namespace,
          status: isAllowed ? 201 : 400,
        });
        if (isAllowed) expect(reply.json).toMatchObject({ namespace });
      }
      expect((await submit(person)).namespace).toBe(person);
    }
  });
});

test('whoever leaves an organization leaves its jobs', async () => {
  const { id } = await submit('emil', 'acme');
  expect((await call('emil', 'DELETE', '/.api/organizations/acme/members/emil')).status).toBe(204);
  expect((await call('emil', 'GET', `/.api/jobs/${id}`)).status).toBe(404);
  expect((await call('emil', 'POST', `/.api/jobs/${id}/cancel`)).status).toBe(404);
  expect((await call('emil', 'POST', '/.api/jobs', { steps, namespace: 'acme' })).status).toBe(400);
  expect((await call('fritz', 'GET', `/.api/jobs/${id}`)).json).toMatchObject({ namespace: 'acme' });
});

describe('a submission that began before', () => {
  const large = { 'large.txt': 'x'.repeat(70_000) };
  test.each<[string, Person | 'site admin', [string, string], object]>([
    ['its sender left', 'emil', ['DELETE', '/members/emil'], {}],
    ['its sender left, with files', 'emil', ['DELETE', '/members/emil'], { files: large }],
    ['the organization was deleted', 'emil', ['DELETE', ''], {}],
    ['the organization was deleted, by a site admin', 'site admin', ['DELETE', ''], { files: large }],
  ])('%s leaves a canceled job', async (_, sender, [method, path], more) => {
    const crew = '/.api/organizations/crew';
    await call('site admin', 'POST', '/.api/organizations', { name: 'crew', admin: 'dora' });
    await call('site admin', 'PUT', `${crew}/members/emil`, { role: 'member' });
    const { submitting } = await site.database.transaction(async (transaction) => {
      // Stands for a repository whose fetching takes long.
      await transaction.query('lock table jobs in share mode');
      const reply = call(sender, 'POST', '/.api/jobs', { steps, namespace: 'crew', ...more });
      await until(async () => {
        const waiting = await site.database.query(
          `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
           and query like '%insert into jobs%'`,
        );
        return waiting.length > 0;
      });
      expect((await call('site admin', method, crew + path)).status).toBe(204);
      return { submitting: reply };
    });
    expect(await submitting).toMatchObject({ status: 400, json: { error: { code: 'unknown_namespace' } } });
    const newest = (await call('site admin', 'GET', '/.api/jobs?first=1')).json as JobList;
    expect(newest.jobs[0]).toMatchObject({
      state: 'canceled',
      namespace: path === '' ? expect.stringMatching(/^#\d+$/) : 'crew',
    });
    if (path !== '') await call('site admin', 'DELETE', crew);
  });
});
