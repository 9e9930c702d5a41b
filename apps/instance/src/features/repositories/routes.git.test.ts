import { pino } from 'pino';
import { expect, it } from 'vitest';
import { soon, useRepositories } from '../../../../../test/kit/repositories.ts';
import { createServer } from '../../server.ts';
import { createAccounts } from '../accounts/index.ts';
import { repositoryRoutes } from './index.ts';

const log = pino({ level: 'silent' });
const test = useRepositories();

it('registers, lists, shows, syncs and removes, by names of any allowed letters', async () => {
  await using server = await createServer({ log });
  const seen: string[] = [];
  const accounts = {
    ...createAccounts({ database: test.database, externalURL: () => undefined, log }),
    authorize: async () => void seen.push('user'),
    authorizeSiteAdmin: async () => void seen.push('admin'),
  };
  await server.register(async (scope) =>
    repositoryRoutes(scope, { repositories: test.repositories, accounts }),
  );
  const name = `github.com/äöü/${'漢'.repeat(497)}`;
  expect(name).toHaveLength(512);
  const one = `/.api/repositories/${encodeURIComponent(name)}`;
  const commit = await test.source.commit({ a: 'a' });

  const registered = await server.inject({
    method: 'POST',
    url: '/.api/repositories',
    payload: { name, cloneURL: test.source.directory },
  });
  expect(registered.statusCode).toBe(201);
  expect(registered.json()).toMatchObject({ name, status: 'new' });
  await expect
    .poll(async () => (await server.inject({ url: one })).json(), soon)
    .toMatchObject({ name, status: 'ready', headCommit: commit, defaultBranch: 'main' });
  const next = await test.source.commit({ a: 'b' });
  expect((await server.inject({ method: 'POST', url: `${one}/sync` })).json()).toMatchObject({
    headCommit: next,
  });
  expect((await server.inject({ url: '/.api/repositories' })).json().repositories).toHaveLength(1);
  const removed = await server.inject({ method: 'DELETE', url: one });
  expect(removed.statusCode).toBe(204);
  expect(removed.body).toBe('');
  const gone = await server.inject({ url: one });
  expect(gone.statusCode).toBe(404);
  expect(gone.json()).toMatchObject({ error: { code: 'repository_not_found' } });
  // Whoever may read may sync; only site admins change what there is.
  expect(seen.filter((role) => role === 'admin')).toHaveLength(2);
});
