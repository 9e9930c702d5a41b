import type { AccessTokenView, JobDocument, SessionView } from '@kiln/protocol';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { addUser, type InstanceUnderTest, startInstanceUnderTest } from '../../instance-under-test.ts';

let site: InstanceUnderTest;
/** The clock of the instance is ahead of that of the machine by this much. */
let aheadMs = 0;
beforeAll(async () => {
  const now = performance.now.bind(performance);
  vi.spyOn(performance, 'now').mockImplementation(() => now() + aheadMs);
  site = await startInstanceUnderTest();
  await site.call('POST', '/.api/organizations', { body: { name: 'acme' } });
});
afterAll(async () => {
  await site?.[Symbol.asyncDispose]();
  vi.restoreAllMocks();
});

type Headers = Record<string, string>;
const password = 'correct horse battery staple';

/** A new member of acme, who has an access token. */
async function addMember(name: string): Promise<Headers> {
  const token = await addUser(site, name);
  await site.call('PUT', `/.api/organizations/acme/members/${name}`, { body: { role: 'member' } });
  return { authorization: `token ${token}` };
}

async function startJob(): Promise<{ document: JobDocument; log(text: string): Promise<unknown> }> {
  await site.submit({ namespace: 'acme', steps: [{ image: 'a', run: 'b' }] });
  const { document } = await site.executor.dequeue();
  if (!document) throw new Error('nothing was given out');
  const entry = { command: [], startTime: new Date(), exitCode: 0, durationMs: 1 };
  return { document, log: (key) => site.executor.logEntry(document, { ...entry, key, out: 'stdout: x\n' }) };
}

/** Follows a job's log until it ends. */
async function follow(job: JobDocument, headers: Headers, accept: string) {
  const response = await fetch(`${site.instance.url}/.api/jobs/${job.id}/log?follow=1`, {
    headers: { ...headers, accept },
    signal: AbortSignal.timeout(20_000),
  });
  expect(response.status).toBe(200);
  const pieces = (response.body ?? new ReadableStream()).pipeThrough(new TextDecoderStream());
  const reader = pieces.getReader();
  let text = '';
  async function readUntil(end?: string): Promise<string> {
    while (end === undefined || !text.includes(end)) {
      const { done, value } = await reader.read();
      if (done) return text;
      text += value;
    }
    return text;
  }
  return { readUntil };
}

async function tokenId(headers: Headers): Promise<number> {
  const { json } = await site.call('GET', '/.api/access-tokens', { token: null, headers });
  return (json as { accessTokens: AccessTokenView[] }).accessTokens[0]?.id ?? 0;
}

describe.each(['text/plain', 'text/event-stream'])('somebody who follows a log as %s', (accept) => {
  const kind = accept.replace(/.*[/-]/, '');

  test.each<[string, string, (name: string, headers: Headers) => Promise<unknown>]>([
    [
      'leaves its organization',
      'dora',
      (name) => site.call('DELETE', `/.api/organizations/acme/members/${name}`),
    ],
    ['is deleted', 'emil', (name) => site.call('DELETE', `/.api/users/${name}`)],
    [
      'loses the access token',
      'fritz',
      async (_, headers) => site.call('DELETE', `/.api/access-tokens/${await tokenId(headers)}`),
    ],
    [
      'has a token that expires',
      'greta',
      async (_, headers) =>
        site.database.query('update access_tokens set expires_at = now() where id = $1', [
          await tokenId(headers),
        ]),
    ],
  ])('and %s gets no more of it; others do', async (_, person, lose) => {
    const name = `${person}-${kind}`;
    const headers = await addMember(name);
    const other = await addMember(`other-${name}`);
    const { document, log } = await startJob();
    await log('first');
    const followed = await follow(document, headers, accept);
    const others = await follow(document, other, accept);
    for (const { readUntil } of [followed, others]) expect(await readUntil('first')).toContain('first');

    const lost = await lose(name, headers);
    if (typeof lost === 'object' && lost !== null && 'status' in lost) expect(lost.status).toBe(204);
    aheadMs += 15_000;
    await log('second');
    const text = await followed.readUntil();
    expect(text).toContain('first');
    expect(text).not.toContain('second');
    expect(text).not.toContain('completed');
    expect(await others.readUntil('second')).toContain('second');
    await site.executor.post('markComplete', document, {});
    expect(await others.readUntil()).toContain('completed');
  });
});

test('a session that ends takes the log with it', async () => {
  await site.call('POST', '/.api/users', { body: { name: 'hanna', password } });
  await site.call('PUT', '/.api/organizations/acme/members/hanna', { body: { role: 'member' } });
  const signedIn = await site.call('POST', '/.api/session', {
    token: null,
    body: { name: 'hanna', password },
  });
  const headers = {
    cookie: signedIn.headers.get('set-cookie')?.split(';')[0] ?? '',
    'sec-fetch-site': 'same-origin',
  };
  const { document, log } = await startJob();
  await log('first');
  const followed = await follow(document, headers, 'text/plain');
  await followed.readUntil('first');
  const { json } = await site.call('GET', '/.api/sessions', { token: null, headers });
  const [session] = (json as { sessions: SessionView[] }).sessions;
  await site.call('DELETE', `/.api/sessions/${session?.id}`, { token: null, headers });
  aheadMs += 15_000;
  await log('second');
  expect(await followed.readUntil()).not.toContain('second');
});
