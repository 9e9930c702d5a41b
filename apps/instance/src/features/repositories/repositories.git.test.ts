import { existsSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { beforeEach, describe, expect, it } from 'vitest';
import { startGitServer } from '../../../../../test/kit/git-server.ts';
import { soon, useRepositories } from '../../../../../test/kit/repositories.ts';
import { createTestRepository, runTestGit } from '../../../../../test/kit/repository.ts';

const test = useRepositories();

describe('registering', () => {
  it('fetches at once and says what it found', async () => {
    const commit = await test.source.commit({ 'a.txt': 'a' });
    const registered = await test.repositories.register({
      name: 'acme/widgets',
      cloneURL: test.source.directory,
    });
    expect(registered).toMatchObject({
      name: 'acme/widgets',
      cloneURL: test.source.directory,
      status: 'new',
    });
    await expect
      .poll(() => test.repositories.get('acme/widgets'), soon)
      .toMatchObject({
        status: 'ready',
        lastError: null,
        defaultBranch: 'main',
        headCommit: commit,
        sizeBytes: expect.any(Number),
        lastFetchedAt: expect.stringMatching(/^\d{4}-.*Z$/),
      });
    expect(await test.repositories.list()).toHaveLength(1);
  });

  it('refuses a name that is taken', async () => {
    await test.repositories.register({ name: 'a', cloneURL: test.source.directory });
    await expect(
      test.repositories.register({ name: 'a', cloneURL: test.source.directory }),
    ).rejects.toMatchObject({
      status: 409,
      code: 'repository_exists',
    });
  });

  it('refuses local paths that are no repository, or in the data directory', async () => {
    await test.repositories.register({ name: 'a', cloneURL: test.source.directory });
    await test.source.commit({ a: 'a' });
    await test.repositories.sync('a');
    const [mirror = ''] = await test.mirrors();
    for (const cloneURL of [join(test.source.directory, 'missing'), tmpdir(), mirror]) {
      await expect(test.repositories.register({ name: 'b', cloneURL })).rejects.toMatchObject({
        status: 400,
        code: 'invalid_clone_url',
      });
    }
  });

  it('keeps names of 512 characters and odd letters apart', async () => {
    await test.source.commit({ a: 'a' });
    for (const name of ['ü/ñ', 'x'.repeat(512), "o'brien/$(id)", 'A', 'a']) {
      await test.repositories.register({ name, cloneURL: test.source.directory });
      expect((await test.repositories.resolve(name)).revision).toBe('main');
    }
  });

  it('notes why a fetch failed, and recovers', async () => {
    await using server = await startGitServer({ root: join(test.source.directory, '..') });
    await test.repositories.register({ name: 'a', cloneURL: `${server.url}/repository/.git/nope` });
    await expect.poll(() => test.repositories.get('a'), soon).toMatchObject({ status: 'failed' });
    expect((await test.repositories.get('a')).lastError).toContain('not found');
    await expect(test.repositories.sync('a')).rejects.toMatchObject({ status: 502, code: 'fetch_failed' });
    await test.database.query('update repositories set clone_url = $1', [`${server.url}/repository/.git`]);
    await test.source.commit({ a: 'a' });
    await using other = await test.open();
    expect(await other.sync('a')).toMatchObject({ status: 'ready', lastError: null });
  });
});

describe('removing', () => {
  it('removes the mirror, and a new repository of the name starts from nothing', async () => {
    await test.source.commit({ a: 'a' });
    await test.repositories.register({ name: 'a', cloneURL: test.source.directory });
    const before = await test.repositories.resolve('a');
    await test.repositories.remove('a');
    expect(
      (await readdir(join(test.directory, 'repositories'))).filter((name) => name !== '.git-home'),
    ).toEqual([]);
    await expect(test.repositories.get('a')).rejects.toMatchObject({
      status: 404,
      code: 'repository_not_found',
    });
    await expect(test.repositories.remove('a')).rejects.toMatchObject({ status: 404 });
    await using other = await createTestRepository();
    await other.commit({ b: 'b' });
    await test.repositories.register({ name: 'a', cloneURL: other.directory });
    await expect(test.repositories.resolve('a', before.commit)).rejects.toMatchObject({
      status: 404,
      code: 'revision_not_found',
    });
  });

  it('stops a fetch that hangs', async () => {
    await using server = await startGitServer({ root: '/', intercept: () => true });
    await test.repositories.register({ name: 'a', cloneURL: `${server.url}/hangs` });
    await expect.poll(() => server.requests.length, soon).toBe(1);
    const started = performance.now();
    await test.repositories.remove('a');
    expect(performance.now() - started).toBeLessThan(5000);
  });

  it('sweeps mirrors of repositories that another instance removed', async () => {
    await test.source.commit({ a: 'a' });
    await test.repositories.register({ name: 'a', cloneURL: test.source.directory });
    await test.repositories.register({ name: 'b', cloneURL: test.source.directory });
    await test.repositories.resolve('a');
    await test.repositories.resolve('b');
    await test.database.query(`delete from repositories where name = 'a'`);
    await test.repositories[Symbol.asyncDispose]();
    const again = await test.open({ directory: test.directory });
    await again.resolve('b');
    await expect.poll(() => test.mirrors(), soon).toHaveLength(1);
  });
});

describe('resolving', () => {
  beforeEach(async () => {
    await test.source.commit({ a: '1' });
    await test.repositories.register({ name: 'a', cloneURL: test.source.directory });
    await test.repositories.sync('a');
  });

  it('knows branches, tags, shortened ids and ancestors', async () => {
    const first = await test.source.git('rev-parse', 'HEAD');
    const second = await test.source.commit({ a: '2' });
    await test.source.git('tag', '-a', '-m', 'release', 'v1', first);
    await test.source.git('branch', 'feature/odd-ä+name', first);
    await test.repositories.sync('a');
    for (const [revision, commit] of Object.entries({
      main: second,
      'refs/heads/main': second,
      v1: first,
      'main~1': first,
      'main^': first,
      'feature/odd-ä+name': first,
      [first.slice(0, 10)]: first,
      [first.toUpperCase()]: first,
    })) {
      expect(await test.repositories.resolve('a', revision), revision).toEqual({ commit, revision });
    }
    expect(await test.repositories.resolve('a')).toEqual({ commit: second, revision: 'main' });
  });

  it('finds what was pushed a moment ago: a branch, a commit', async () => {
    await test.source.git('checkout', '--quiet', '-b', 'new');
    const commit = await test.source.commit({ a: '2' });
    expect((await test.repositories.resolve('a', 'new')).commit).toBe(commit);
    const next = await test.source.commit({ a: '3' });
    expect((await test.repositories.resolve('a', next)).commit).toBe(next);
  });

  it('fetches a mirror that is older than 30 s, and no newer one', async () => {
    let now = Date.now();
    await using later = await test.open({ now: () => new Date(now) });
    const first = (await later.resolve('a', 'main')).commit;
    const second = await test.source.commit({ a: '2' });
    now += 29_000;
    expect((await later.resolve('a', 'main')).commit).toBe(first);
    now += 2000;
    expect((await later.resolve('a', 'main')).commit).toBe(second);
  });

  it('needs no source for a commit that it has', async () => {
    const { commit } = await test.repositories.resolve('a');
    await test.source[Symbol.asyncDispose]();
    expect((await test.repositories.resolve('a', commit)).commit).toBe(commit);
  });

  it('follows a branch that was rewritten, and still has the commit that a job named', async () => {
    const { commit: old } = await test.repositories.resolve('a', 'main');
    await test.source.git('commit', '--quiet', '--amend', '-m', 'Rewritten');
    await test.source.git('reflog', 'expire', '--expire=now', '--all');
    await test.source.git('gc', '--quiet', '--prune=now');
    const rewritten = await test.source.git('rev-parse', 'HEAD');
    await test.repositories.sync('a');
    expect((await test.repositories.resolve('a', 'main')).commit).toBe(rewritten);
    expect((await test.repositories.resolve('a', old)).commit).toBe(old);
  });

  it('follows the default branch, its removal and a detached HEAD', async () => {
    await test.source.git('checkout', '--quiet', '-b', 'trunk');
    const commit = await test.source.commit({ a: '2' });
    await test.source.git('branch', '-D', 'main');
    expect(await test.repositories.sync('a')).toMatchObject({ defaultBranch: 'trunk', headCommit: commit });
    await test.source.git('checkout', '--quiet', '--detach', 'HEAD~1');
    const detached = await test.source.git('rev-parse', 'HEAD');
    expect(await test.repositories.sync('a')).toMatchObject({ defaultBranch: null, headCommit: detached });
    expect(await test.repositories.resolve('a')).toEqual({ commit: detached, revision: 'HEAD' });
    await expect(test.repositories.resolve('a', 'main')).rejects.toMatchObject({
      code: 'revision_not_found',
    });
    // A branch that makes way for others of its name.
    await test.source.git('checkout', '--quiet', '-b', 'main/nested');
    expect(await test.repositories.sync('a')).toMatchObject({ defaultBranch: 'main/nested' });
  });

  it('names an unknown revision, and one that is no commit', async () => {
    const blob = await test.source.git('rev-parse', 'HEAD:a');
    for (const revision of ['nope', '0'.repeat(40), blob, 'main~7']) {
      await expect(test.repositories.resolve('a', revision), revision).rejects.toMatchObject({
        status: 404,
        code: 'revision_not_found',
        message: expect.stringContaining(revision),
      });
    }
    await expect(test.repositories.resolve('b')).rejects.toMatchObject({ code: 'repository_not_found' });
  });

  it('refuses what git would read as an option', async () => {
    const file = join(test.directory, 'written');
    for (const revision of [
      `--output=${file}`,
      '-h',
      '--all',
      'HEAD..main',
      'HEAD:a',
      ':/x',
      '@{1}',
      'a\nb',
    ]) {
      await expect(test.repositories.resolve('a', revision), revision).rejects.toMatchObject({
        status: 400,
        code: 'invalid_revision',
      });
    }
    expect(existsSync(file)).toBe(false);
  });

  it('says that an empty repository has no HEAD', async () => {
    await using empty = await createTestRepository();
    await test.repositories.register({ name: 'empty', cloneURL: empty.directory });
    expect(await test.repositories.sync('empty')).toMatchObject({
      status: 'ready',
      headCommit: null,
      defaultBranch: null,
    });
    await expect(test.repositories.resolve('empty')).rejects.toMatchObject({ code: 'revision_not_found' });
    const commit = await empty.commit({ a: 'a' });
    expect((await test.repositories.resolve('empty')).commit).toBe(commit);
  });

  it('recovers from locks of a git process that died with the machine', async () => {
    const [mirror = ''] = await test.mirrors();
    await test.repositories[Symbol.asyncDispose]();
    for (const lock of ['packed-refs.lock', 'refs/heads/main.lock', 'HEAD.lock']) {
      await writeFile(join(mirror, lock), '');
    }
    await delay(20);
    const commit = await test.source.commit({ a: '2' });
    const again = await test.open({ directory: test.directory });
    expect((await again.resolve('a', 'main')).commit).toBe(commit);
  });
});

describe('fetching', () => {
  it('happens once for all who ask at the same time', async () => {
    await test.source.commit({ a: 'a' });
    await using server = await startGitServer({ root: join(test.source.directory, '..') });
    await test.repositories.register({ name: 'a', cloneURL: `${server.url}/repository/.git` });
    const resolved = await Promise.all(
      Array.from({ length: 20 }, () => test.repositories.resolve('a', 'main')),
    );
    expect(new Set(resolved.map(({ commit }) => commit)).size).toBe(1);
    // ls-remote and fetch each ask for info/refs once.
    expect(server.requests.filter((request) => request.includes('info/refs'))).toHaveLength(2);
    const next = await test.source.commit({ a: 'b' });
    server.requests.length = 0;
    await Promise.all(Array.from({ length: 20 }, () => test.repositories.resolve('a', next)));
    expect(server.requests.filter((request) => request.includes('info/refs'))).toHaveLength(1);
  });

  it('stops waiting after its limit, while the fetch goes on', async () => {
    await test.source.commit({ a: 'a' });
    let release: () => void = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    let first = true;
    await using backend = await startGitServer({ root: join(test.source.directory, '..') });
    await using server = await startGitServer({
      root: join(test.source.directory, '..'),
      intercept(request, response) {
        if (!first) return false;
        first = false;
        void released.then(async () => {
          const answer = await fetch(backend.url + request.url, {
            headers: { 'git-protocol': String(request.headers['git-protocol']) },
          });
          response.writeHead(answer.status, {
            'content-type': answer.headers.get('content-type') ?? '',
          });
          response.end(Buffer.from(await answer.arrayBuffer()));
        });
        return true;
      },
    });
    await using impatient = await test.open({ limits: { waitSeconds: 0.2 } });
    await impatient.register({ name: 'a', cloneURL: `${server.url}/repository/.git` });
    await expect(impatient.resolve('a')).rejects.toMatchObject({ status: 503, code: 'fetch_pending' });
    release();
    await expect.poll(() => impatient.get('a'), soon).toMatchObject({ status: 'ready' });
    expect((await impatient.resolve('a')).revision).toBe('main');
  });

  it('keeps many packs few, and the commits of jobs for their time', async () => {
    const data = join(test.directory, 'tidy');
    await mkdir(data);
    let now = new Date('2026-01-15T00:00:00Z');
    await using tidy = await test.open({
      directory: data,
      limits: { maxPacks: 3, keepJobCommitsMonths: 2 },
      now: () => now,
    });
    await test.source.commit({ a: '0' });
    await tidy.register({ name: 'a', cloneURL: test.source.directory });
    const old = (await tidy.resolve('a')).commit;
    await test.source.git('commit', '--quiet', '--amend', '-m', 'Rewritten');
    now = new Date('2026-03-01T00:00:00Z');
    const kept = (await tidy.resolve('a')).commit;
    await test.source.git('commit', '--quiet', '--amend', '-m', 'Rewritten again');
    now = new Date('2026-04-15T00:00:00Z');
    const [mirror = ''] = await test.mirrors(data);
    const packs = async () =>
      (await readdir(join(mirror, 'objects', 'pack'))).filter((name) => name.endsWith('.pack')).length;
    const jobRefs = () => runTestGit(mirror, 'for-each-ref', '--format=%(refname)', 'refs/kiln/jobs');
    expect(await jobRefs()).toBe(`refs/kiln/jobs/2026-01/${old}\nrefs/kiln/jobs/2026-03/${kept}`);
    for (let round = 1; round <= 3; round++) {
      await test.source.commit({ a: String(round) });
      await tidy.sync('a');
    }
    await expect.poll(packs, soon).toBeLessThan(3);
    expect(await jobRefs()).toBe(`refs/kiln/jobs/2026-03/${kept}`);
  });
});
