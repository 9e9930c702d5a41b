import type { JobDocument, JobView, SecretUseList, SecretView } from '@kiln/protocol';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  addUser,
  type InstanceUnderTest,
  type Reply,
  startInstanceUnderTest,
} from '../../instance-under-test.ts';
import { deleteOldUses } from './uses.ts';

let site: InstanceUnderTest;
beforeAll(async () => {
  site = await startInstanceUnderTest();
});
afterAll(() => site?.[Symbol.asyncDispose]());
beforeEach(() => site.database.query('delete from executor_secrets'));

const steps = [
  { image: 'a', run: 'b', env: { OWN: 'x' } },
  { image: 'c', run: 'd' },
];
const pem = '-----BEGIN KEY-----\nMIIö"\'\\$x\r\n\t-----END KEY-----\n';

const put = (key: string, value: unknown, scope = 'JOBS', options = {}): Promise<Reply> =>
  site.call('PUT', `/.api/secrets/${scope}/${key}`, { body: { value }, ...options });

async function set(key: string, value: string, scope?: string): Promise<SecretView> {
  const reply = await put(key, value, scope);
  if (reply.status !== 200) throw new Error(reply.text);
  return (reply.json as { secret: SecretView }).secret;
}

async function claim(job: JobView, extra: Record<string, unknown> = {}): Promise<JobDocument> {
  const { document } = await site.executor.dequeue(extra);
  if (document?.id !== job.id) throw new Error(`job ${document?.id} was given out, not ${job.id}`);
  return document;
}

async function complete(document: JobDocument): Promise<void> {
  expect((await site.executor.post('markComplete', document, {})).status).toBe(204);
}

async function uses(query = ''): Promise<SecretUseList> {
  return (await site.call('GET', `/.api/secret-uses${query}`)).json as SecretUseList;
}

describe('secrets over HTTP', () => {
  test('are made, changed, listed and removed, and their values come back in no reply', async () => {
    const replies: Reply[] = [];
    const call = async (...args: Parameters<typeof site.call>) => {
      const reply = await site.call(...args);
      replies.push(reply);
      return reply;
    };
    const path = '/.api/secrets/JOBS/TOKEN';
    const first = await call('PUT', path, { body: { value: 'hunter2-first' } });
    expect(first).toMatchObject({
      status: 200,
      json: { secret: { scope: 'JOBS', key: 'TOKEN', version: 1 }, notices: [] },
    });
    const second = await call('PUT', path, { body: { value: 'hunter2-second' } });
    const [before, after] = [first, second].map((reply) => (reply.json as { secret: SecretView }).secret);
    expect(after).toMatchObject({ version: 2, createdAt: before?.createdAt });
    expect(Date.parse(after?.updatedAt ?? '')).toBeGreaterThan(Date.parse(before?.updatedAt ?? ''));

    await call('PUT', '/.api/secrets/BATCHES/TOKEN', { body: { value: 'hunter2-batches' } });
    expect((await call('GET', '/.api/secrets')).json).toMatchObject({
      secrets: [{ scope: 'BATCHES', version: 1 }, after],
    });
    expect((await call('GET', '/.api/secrets?scope=JOBS')).json).toEqual({ secrets: [after] });
    expect((await call('DELETE', path)).status).toBe(204);
    expect(await call('DELETE', path)).toMatchObject({
      status: 404,
      json: { error: { code: 'unknown_secret' } },
    });
    expect((await call('PUT', path, { body: { value: 'hunter2-third' } })).json).toMatchObject({
      secret: { version: 1 },
    });
    for (const { text } of replies) expect(text).not.toContain('hunter2');
  });

  test('of few bytes are taken with a remark', async () => {
    expect((await put('PIN', '1234')).json).toMatchObject({
      notices: [expect.stringContaining('fewer than 6 bytes')],
    });
  });

  test.each<[string, string, string, unknown, number, string]>([
    ['a key in small letters', 'JOBS', 'token', 'SECRET', 400, 'invalid_request'],
    ['a key that begins with a digit', 'JOBS', '1A', 'SECRET', 400, 'invalid_request'],
    ['a key with a line break', 'JOBS', 'A%0A', 'SECRET', 400, 'invalid_request'],
    ['a key of 256 characters', 'JOBS', 'A'.repeat(256), 'SECRET', 400, 'invalid_request'],
    ['an unknown scope', 'ALL', 'TOKEN', 'SECRET', 400, 'invalid_request'],
    ['a number', 'JOBS', 'TOKEN', 7_777_777, 400, 'invalid_request'],
    ['an object', 'JOBS', 'TOKEN', { SECRET: 'SECRET' }, 400, 'invalid_request'],
    ['nothing', 'JOBS', 'TOKEN', undefined, 400, 'invalid_request'],
    ['an empty value', 'JOBS', 'TOKEN', '', 400, 'invalid_secret'],
    ['a NUL', 'JOBS', 'TOKEN', 'SECRET\0', 400, 'invalid_secret'],
    ['more than 64 KiB', 'JOBS', 'TOKEN', 'SECRETS!'.repeat(8193), 400, 'invalid_secret'],
    ['a megabyte', 'JOBS', 'TOKEN', 'SECRETS!'.repeat(131_072), 413, 'too_large'],
    ['registry credentials without JSON', 'JOBS', 'DOCKER_AUTH_CONFIG', 'SECRET', 400, 'invalid_secret'],
  ])('refuse %s, and quote nothing of it', async (_, scope, key, value, status, code) => {
    const reply = await put(key, value, scope);
    expect(reply).toMatchObject({ status, json: { error: { code } } });
    expect(reply.text).not.toMatch(/SECRET(?!S?\b.*scope)|7777777/);
    expect((await site.call('GET', '/.api/secrets')).json).toEqual({ secrets: [] });
  });

  test('are for site admins', async () => {
    const token = await addUser(site, 'eve');
    for (const [method, path, body] of [
      ['GET', '/.api/secrets'],
      ['PUT', '/.api/secrets/JOBS/TOKEN', { value: 'hunter2' }],
      ['DELETE', '/.api/secrets/JOBS/TOKEN'],
      ['GET', '/.api/secret-uses'],
      ['POST', '/.api/secrets/rotate-key'],
    ] as const) {
      for (const [who, status] of [
        [null, 401],
        [token, 403],
      ] as const) {
        const reply = await site.call(method, path, { token: who, ...(body ? { body } : {}) });
        expect(reply.status, `${method} ${path} as ${who}`).toBe(status);
      }
    }
    expect((await site.call('GET', '/.api/secrets')).json).toEqual({ secrets: [] });
  });
});

describe('a job', () => {
  test('gets the secrets that it asks for as variables of every step, and how to mask them', async () => {
    await set('PEM', pem);
    await set('TOKEN', 'hunter2-token');
    await set('OTHER', 'not asked for');
    await set('TOKEN', 'of another scope', 'BATCHES');
    const document = await claim(await site.submit({ steps, secrets: ['TOKEN', 'PEM'] }));
    const [first, second] = document.dockerSteps.map((step) => step.env.toSorted());
    expect(first).toEqual(['OWN=x', `PEM=${pem}`, 'TOKEN=hunter2-token']);
    expect(second).toEqual([`PEM=${pem}`, 'TOKEN=hunter2-token']);
    expect(document.redactedValues).toEqual({
      [pem]: `\${{ secrets.PEM }}`,
      'hunter2-token': `\${{ secrets.TOKEN }}`,
    });
    expect(JSON.stringify(document)).not.toMatch(/not asked for|another scope/);
    await complete(document);
  });

  test('gets values of 64 KiB as they are', async () => {
    const value = 'ä\n"'.repeat(16_384);
    await set('BIG', value);
    const document = await claim(await site.submit({ steps, secrets: ['BIG'] }));
    expect(document.dockerSteps[1]?.env).toEqual([`BIG=${value}`]);
    await complete(document);
  });

  test('beside others gets its own, also when they are claimed together', async () => {
    await set('RED', 'hunter2-red');
    await set('BLUE', 'hunter2-blue');
    const wants = [['RED'], [], ['BLUE', 'RED'], ['BLUE']];
    const jobs = await Promise.all(wants.map((secrets) => site.submit({ steps, secrets })));
    const claimed = await Promise.all(jobs.map(() => site.executor.dequeue()));
    for (const { document } of claimed) {
      if (!document) throw new Error('a job was not given out');
      const names = document.dockerSteps[1]?.env.map((pair) => pair.split('=')[0]);
      expect(names).toEqual(wants[jobs.findIndex(({ id }) => id === document.id)]);
      expect(Object.keys(document.redactedValues)).toHaveLength(names?.length ?? 0);
      await complete(document);
    }
  });

  test('is refused when it asks for what does not exist, by name, as everybody', async () => {
    await set('TOKEN', 'hunter2-token');
    await set('BATCH', 'of another scope', 'BATCHES');
    const body = { steps, secrets: ['TOKEN', 'NOPE', 'BATCH'] };
    for (const token of [site.adminToken, await addUser(site, 'mallory')]) {
      expect(await site.call('POST', '/.api/jobs', { body, token })).toMatchObject({
        status: 400,
        json: {
          error: {
            code: 'unknown_secret',
            message: 'There is no executor secret NOPE, BATCH of scope JOBS',
          },
        },
      });
    }
  });

  test('gets the value that counts when it is claimed, in each attempt', async () => {
    await set('TOKEN', 'hunter2-old');
    const job = await site.submit({ steps, secrets: ['TOKEN'] });
    await set('TOKEN', 'hunter2-new');
    const document = await claim(job);
    expect(document.dockerSteps[1]?.env).toEqual(['TOKEN=hunter2-new']);
    await complete(document);
    await set('TOKEN', 'hunter2-newest');
    await site.call('POST', `/.api/jobs/${job.id}/retry`);
    const again = await claim(job);
    expect(again.dockerSteps[1]?.env).toEqual(['TOKEN=hunter2-newest']);
    await complete(again);
    expect((await uses('?key=TOKEN&first=2')).uses).toMatchObject([
      { jobId: job.id, attempt: 2, version: 3 },
      { jobId: job.id, attempt: 1, version: 2 },
    ]);
  });

  test('fails by name when a secret was removed meanwhile', async () => {
    await set('TOKEN', 'hunter2-token');
    const { id } = await site.submit({ steps, secrets: ['TOKEN'] });
    await site.call('DELETE', '/.api/secrets/JOBS/TOKEN');
    expect((await site.executor.dequeue()).status).toBe(204);
    expect((await site.call('GET', `/.api/jobs/${id}`)).json).toMatchObject({
      state: 'failed',
      failureKind: 'document',
      failureMessage: expect.stringContaining('the secret TOKEN was removed'),
    });
  });

  test('fails when its secrets would fill the memory of whoever carries them', async () => {
    const secrets = Array.from({ length: 10 }, (_, n) => `LARGE_${n}`);
    for (const key of secrets) await set(key, 'x'.repeat(65_536));
    const many = Array.from({ length: 30 }, () => ({ image: 'a', run: 'b' }));
    const { id } = await site.submit({ steps: many, secrets });
    expect((await site.executor.dequeue()).status).toBe(204);
    expect((await site.call('GET', `/.api/jobs/${id}`)).json).toMatchObject({
      state: 'failed',
      failureMessage: expect.stringContaining('its secrets have 640 KiB for each of 30 steps'),
    });
  });

  test('gets registry credentials without asking for them, and never as a variable', async () => {
    const config = { auths: { 'r.example:5000': { auth: Buffer.from('user:pässword').toString('base64') } } };
    await set('DOCKER_AUTH_CONFIG', JSON.stringify({ ...config, psFormat: 'x' }));
    const document = await claim(await site.submit({ steps }));
    expect(document.dockerAuthConfig).toEqual(config);
    expect(document.dockerSteps.map((step) => step.env)).toEqual([['OWN=x'], []]);
    expect((await uses('?first=1')).uses).toMatchObject([
      { key: 'DOCKER_AUTH_CONFIG', cause: 'registry', jobId: document.id, executor: site.executor.name },
    ]);
    await complete(document);
    expect(
      await site.call('POST', '/.api/jobs', { body: { steps, secrets: ['DOCKER_AUTH_CONFIG'] } }),
    ).toMatchObject({ status: 400, json: { error: { code: 'invalid_job' } } });
  });
});

describe('the log of uses', () => {
  test('tells job, attempt, executor, user and cause, in pages, and outlives secret and job', async () => {
    const token = await addUser(site, 'carol');
    await set('TRACED', 'hunter2-traced');
    const ids: number[] = [];
    for (const who of [token, site.adminToken, token]) {
      const reply = await site.call('POST', '/.api/jobs', {
        body: { steps, secrets: ['TRACED'] },
        token: who,
      });
      const document = await claim(reply.json as JobView);
      await complete(document);
      ids.unshift(document.id);
    }
    await site.call('DELETE', '/.api/secrets/JOBS/TRACED');
    await site.database.query('delete from jobs where id = any($1)', [ids]);

    const page = await uses('?key=TRACED&first=2');
    expect(page).toEqual({
      uses: [
        {
          scope: 'JOBS',
          key: 'TRACED',
          version: 1,
          jobId: ids[0],
          attempt: 1,
          executor: site.executor.name,
          user: 'carol',
          cause: 'requested',
          usedAt: expect.stringMatching(/^\d{4}-.*Z$/),
        },
        expect.objectContaining({ jobId: ids[1], user: 'admin' }),
      ],
      nextCursor: expect.any(String),
    });
    await site.database.query(`delete from namespaces where name = 'carol'`);
    expect(await uses(`?key=TRACED&first=2&after=${page.nextCursor}`)).toEqual({
      uses: [expect.objectContaining({ jobId: ids[2], user: null })],
      nextCursor: null,
    });
    expect((await uses('?key=TRACED&scope=BATCHES')).uses).toEqual([]);
    expect((await site.call('GET', '/.api/secret-uses?after=x')).status).toBe(400);
  });

  test('is kept as long as the site configuration says', async () => {
    const count = async () => (await site.database.query('select 1 from executor_secret_uses')).length;
    await site.database.query(
      `insert into executor_secret_uses (secret_id, scope, key, version, job_id, attempt, executor, cause, used_at)
       select gen_random_uuid(), 'JOBS', 'OLD', 1, n, 1, 'e', 'requested', now() - interval '366 days' from generate_series(1, 2500) n`,
    );
    const before = await count();
    const { signal } = new AbortController();
    expect(await deleteOldUses(site.database, 365, signal)).toBe(2500);
    expect(await count()).toBe(before - 2500);
  });
});

describe('what somebody wrote into the database', () => {
  test('a value moved to another secret is given to nobody', async () => {
    await set('MINE', 'hunter2-mine');
    await set('THEIRS', 'hunter2-theirs');
    await site.database.query(
      `update executor_secrets set (wrapped_key, sealed_value) =
         (select wrapped_key, sealed_value from executor_secrets where key = 'THEIRS') where key = 'MINE'`,
    );
    const { id } = await site.submit({ steps, secrets: ['MINE'] });
    expect((await site.executor.dequeue()).status).toBe(204);
    expect((await site.call('GET', `/.api/jobs/${id}`)).json).toMatchObject({
      state: 'failed',
      failureMessage: expect.stringContaining('the secret MINE cannot be decrypted'),
    });
    expect(site.logLines).toContainEqual(
      expect.objectContaining({ level: 50, msg: 'a secret cannot be decrypted', key: 'MINE' }),
    );
  });

  test('an old value put back is given to nobody', async () => {
    await set('TOKEN', 'hunter2-old');
    await site.database.query('create table kept as select * from executor_secrets');
    await set('TOKEN', 'hunter2-new');
    await site.database.query(
      `update executor_secrets s set (wrapped_key, sealed_value) = (k.wrapped_key, k.sealed_value)
       from kept k where k.id = s.id`,
    );
    await site.database.query('drop table kept');
    await site.submit({ steps, secrets: ['TOKEN'] });
    expect((await site.executor.dequeue()).status).toBe(204);
  });
});
