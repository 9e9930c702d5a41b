import { request } from 'node:http';
import { expect, test } from 'vitest';
import { type GitProxy, openGitProxy, proxyKeyHeader } from './git-proxy.ts';

function ask(proxy: GitProxy, path: string, headers: Record<string, string>): Promise<number> {
  return new Promise((resolve, reject) => {
    request(new URL(path, proxy.remoteUrl), { headers, method: 'GET' }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    })
      .once('error', reject)
      .end();
  });
}

test('only our git gets through, and only to reads of the one repository', async () => {
  const forwarded: string[] = [];
  const client = {
    forward({ path }: { path: string }) {
      forwarded.push(path);
      return Promise.reject(new Error('the instance is away'));
    },
  };
  await using proxy = await openGitProxy(client, 'github.com/acme/a b', new AbortController().signal);
  const { pathname } = new URL(proxy.remoteUrl);
  const refs = `${pathname}/info/refs?service=git-upload-pack`;
  const known = { [proxyKeyHeader]: proxy.key };
  expect(await ask(proxy, refs, {})).toBe(403);
  expect(await ask(proxy, refs, { [proxyKeyHeader]: `${proxy.key.slice(0, -1)}x` })).toBe(403);
  expect(await ask(proxy, '/github.com/acme/other/info/refs?service=git-upload-pack', known)).toBe(403);
  expect(await ask(proxy, `${pathname}/info/refs?service=git-receive-pack`, known)).toBe(403);
  expect(await ask(proxy, `${pathname}/git-receive-pack`, known)).toBe(403);
  expect(await ask(proxy, `${pathname}/../b/info/refs?service=git-upload-pack`, known)).toBe(403);
  expect(forwarded).toEqual([]);
  expect(await ask(proxy, refs, known)).toBe(502);
  expect(forwarded).toEqual(['/.executors/git/github.com/acme/a%20b/info/refs?service=git-upload-pack']);
  expect([proxy.takeTrouble(), proxy.takeTrouble()]).toEqual([true, false]);
});
