import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { mountGit, type TestGitServer } from '../../../../../test/kit/git-server.ts';
import { soon, useRepositories } from '../../../../../test/kit/repositories.ts';
import { createTestRepository, runTestGit, testGitEnvironment } from '../../../../../test/kit/repository.ts';
import type { GitRequest } from './index.ts';
import { flushPacket, pktLine } from './pkt-line.ts';

const test = useRepositories({ fresh: 'file' });
const name = 'acme/widgets';
let server: TestGitServer;
let url: string;
let commit: string;
let work: string;
let works = 0;

beforeAll(async () => {
  commit = await test.source.commit({ 'a.txt': 'a\n', 'big/b.txt': 'b\n'.repeat(1000) });
  await test.source.git('tag', 'v1');
  await test.repositories.register({ name, cloneURL: test.source.directory });
  await test.repositories.resolve(name);
  server = await mountGit((request) => test.repositories.serveGit(request));
  url = `${server.url}/${name}`;
});
afterAll(() => server[Symbol.asyncDispose]());
beforeEach(async () => {
  work = join(test.directory, `work-${++works}`);
  await mkdir(work);
});

/** A request as a transport hands it over. */
function ask(request: Partial<GitRequest>) {
  return test.repositories.serveGit({
    repositoryName: name,
    path: 'git-upload-pack',
    query: '',
    headers: {},
    body: Readable.from([]),
    signal: new AbortController().signal,
    ...request,
  });
}

function fetchRequest(id: string): Buffer {
  return Buffer.from(
    `${pktLine('command=fetch\n')}0001${pktLine(`want ${id}\n`)}${pktLine('no-progress\n')}${pktLine('done\n')}${flushPacket}`,
  );
}

describe('a real git client', () => {
  it('fetches one commit as an executor does: protocol 2, shallow, no tags', async () => {
    await runTestGit(work, 'init', '--quiet');
    await runTestGit(work, '-c', 'protocol.version=2', 'fetch', '--depth=1', '--no-tags', url, commit);
    await runTestGit(work, 'checkout', '--quiet', '--force', commit);
    expect(await readFile(join(work, 'a.txt'), 'utf8')).toBe('a\n');
    expect(await runTestGit(work, 'rev-list', '--all', '--count', 'HEAD')).toBe('1');
  });

  it.each(['0', '1', '2'])(
    'clones everything by protocol %s, and sees nothing of refs/kiln',
    async (version) => {
      await runTestGit(work, '-c', `protocol.version=${version}`, 'clone', '--quiet', url, 'clone');
      expect(await runTestGit(join(work, 'clone'), 'rev-parse', 'HEAD', 'v1')).toBe(`${commit}\n${commit}`);
      expect(await runTestGit(join(work, 'clone'), 'symbolic-ref', 'HEAD')).toBe('refs/heads/main');
      const listed = await runTestGit(work, '-c', `protocol.version=${version}`, 'ls-remote', url);
      expect(listed.split('\n').map((line) => line.split('\t')[1])).toEqual([
        'HEAD',
        'refs/heads/main',
        'refs/tags/v1',
      ]);
    },
  );

  it('clones partially, and fetches the missing blobs later', async () => {
    const clone = join(work, 'clone');
    await runTestGit(work, 'clone', '--quiet', '--filter=blob:none', '--no-checkout', url, 'clone');
    expect(await runTestGit(clone, 'rev-list', '--objects', '--missing=print', 'HEAD')).toMatch(/^\?/m);
    await runTestGit(clone, 'sparse-checkout', 'set', '--no-cone', '/a.txt');
    await runTestGit(clone, 'checkout', '--quiet', commit);
    expect(await readFile(join(clone, 'a.txt'), 'utf8')).toBe('a\n');
    expect(await runTestGit(clone, 'rev-list', '--objects', '--missing=print', 'HEAD')).toMatch(/^\?/m);
  });

  it('is refused filters that make the server evaluate patterns', async () => {
    await expect(
      runTestGit(work, 'clone', '--quiet', `--filter=sparse:oid=${commit}:a.txt`, url, 'clone'),
    ).rejects.toThrow(/filter/);
  });

  it('gets a large pack whole, with a gzip body of many haves', async () => {
    await test.source.git('checkout', '--quiet', '-b', 'large');
    for (let index = 0; index < 24; index++) {
      await test.source.git('commit', '--quiet', '--allow-empty', '-m', `commit ${index}`);
    }
    await test.source.commit({ large: randomBytes(2 * 1024 ** 2) });
    await test.repositories.sync(name);
    await runTestGit(work, 'clone', '--quiet', url, 'clone');
    expect(await runTestGit(join(work, 'clone'), 'fsck', '--full')).toBe('');
    const next = await test.source.commit({ large: 'small now' });
    await test.repositories.sync(name);
    await runTestGit(join(work, 'clone'), 'fetch', '--quiet', url, 'large');
    expect(await runTestGit(join(work, 'clone'), 'rev-parse', 'FETCH_HEAD')).toBe(next);
    await test.source.git('checkout', '--quiet', 'main');
  });

  it('gets a commit that only the source has, and one that no branch leads to any more', async () => {
    await test.source.git('checkout', '--quiet', '--detach');
    const unnamed = await test.source.commit({ 'a.txt': 'on no branch\n' });
    await test.source.git('checkout', '--quiet', 'main');
    await runTestGit(work, 'init', '--quiet');
    await runTestGit(work, 'fetch', '--quiet', '--depth=1', url, unnamed);
    expect(await runTestGit(work, 'rev-parse', 'FETCH_HEAD')).toBe(unnamed);
  });

  it('is told which object nobody has', async () => {
    await runTestGit(work, 'init', '--quiet');
    const nowhere = '1'.repeat(40);
    await expect(runTestGit(work, 'fetch', '--depth=1', url, nowhere)).rejects.toThrow(
      new RegExp(`not our ref ${nowhere}`),
    );
  });

  it('gets a repository whose mirror this instance does not have yet', async () => {
    const other = await test.open();
    await using otherServer = await mountGit((request) => other.serveGit(request));
    await runTestGit(work, 'clone', '--quiet', `${otherServer.url}/acme/widgets`, 'clone');
    expect(await runTestGit(join(work, 'clone'), 'rev-parse', 'HEAD')).toBe(commit);
  });

  it('is told why the mirror cannot be fetched', async () => {
    const lost = await createTestRepository();
    await lost.commit({ a: 'a' });
    await test.repositories.register({ name: 'lost', cloneURL: lost.directory });
    await test.repositories.resolve('lost');
    await lost[Symbol.asyncDispose]();
    // A mirror is there, the commit is not.
    await runTestGit(work, 'init', '--quiet');
    await expect(runTestGit(work, 'fetch', `${server.url}/lost`, '1'.repeat(40))).rejects.toThrow(
      /remote error: repository lost could not be fetched: there is no directory/,
    );
    const other = await test.open();
    await using otherServer = await mountGit((request) => other.serveGit(request));
    await expect(runTestGit(work, 'clone', `${otherServer.url}/lost`, 'clone')).rejects.toThrow(
      /could not be fetched: there is no directory/,
    );
  });

  it('cannot push', async () => {
    await runTestGit(work, 'clone', '--quiet', url, 'clone');
    const clone = join(work, 'clone');
    await runTestGit(clone, 'commit', '--quiet', '--allow-empty', '-m', 'mine');
    await expect(runTestGit(clone, 'push', 'origin', 'main')).rejects.toThrow(/400/);
  });
});

describe('the answers', () => {
  it('are those of the reference', async () => {
    const advertised = await ask({ path: 'info/refs', query: 'service=git-upload-pack' });
    expect(advertised.status).toBe(200);
    expect(advertised.headers['content-type']).toBe('application/x-git-upload-pack-advertisement');
    expect((await text(advertised.body)).startsWith('001e# service=git-upload-pack\n0000')).toBe(true);

    const pushed = await ask({ path: 'info/refs', query: 'service=git-receive-pack' });
    expect(pushed.status).toBe(400);
    expect(await text(pushed.body)).toBe('only support service git-upload-pack\n');

    for (const repositoryName of ['acme/nothing', '', '../etc', 'a\0b', 'x'.repeat(10_000)]) {
      const unknown = await ask({ repositoryName, path: 'info/refs', query: 'service=git-upload-pack' });
      expect(unknown.status).toBe(404);
      expect(await text(unknown.body)).toBe('repository not found\n');
    }
  });

  it('take gzip bodies', async () => {
    const headers = { 'git-protocol': 'version=2' };
    const zipped = await ask({
      headers: { ...headers, 'content-encoding': 'gzip' },
      body: Readable.from([gzipSync(fetchRequest(commit))]),
    });
    expect(zipped.headers['content-type']).toBe('application/x-git-upload-pack-result');
    expect((await buffer(zipped.body)).toString('latin1')).toContain('PACK');
  });

  it('refuse malformed, truncated and unknown encodings', async () => {
    const zipped = gzipSync(fetchRequest(commit));
    for (const [encoding, body, status] of [
      ['gzip', Buffer.from('not gzip at all'), 400],
      ['gzip', zipped.subarray(0, zipped.length - 4), 400],
      ['gzip', Buffer.concat([zipped, Buffer.from('rubbish')]), 400],
      ['br', zipped, 415],
    ] as const) {
      const answer = await ask({ headers: { 'content-encoding': encoding }, body: Readable.from([body]) });
      expect(answer.status).toBe(status);
    }
  });

  it('refuse bodies over the limit, also those that unpack to it', async () => {
    const small = await test.open({ limits: { maxRequestBytes: 1024 ** 2 } });
    const bomb = gzipSync(Buffer.alloc(64 * 1024 ** 2));
    expect(bomb.length).toBeLessThan(1024 ** 2);
    for (const [encoding, body] of [
      ['gzip', bomb],
      ['', Buffer.alloc(2 * 1024 ** 2)],
    ] as const) {
      const answer = await small.serveGit({
        repositoryName: name,
        path: 'git-upload-pack',
        query: '',
        headers: { 'content-encoding': encoding },
        body: Readable.from([body]),
        signal: new AbortController().signal,
      });
      expect(answer.status).toBe(413);
    }
  });

  it('survive bodies that are no git at all', async () => {
    for (const body of ['', '0000', 'hello', 'ffff', '0032want zzzz', '0004', `0005${'\0'.repeat(100)}`]) {
      const answer = await ask({ body: Readable.from([Buffer.from(body)]) });
      await buffer(answer.body);
      expect([200, 500]).toContain(answer.status);
    }
    const probe = await ask({ body: Readable.from([Buffer.from(flushPacket)]) });
    expect(probe.status).toBe(200);
    expect(await buffer(probe.body)).toHaveLength(0);
  });

  it('do not hand odd Git-Protocol headers to git', async () => {
    const answer = await ask({
      path: 'info/refs',
      query: 'service=git-upload-pack',
      headers: { 'git-protocol': 'version=2\nGIT_DIR=/etc' },
    });
    expect(await text(answer.body)).toContain('refs/heads/main');
  });
});

describe('processes', () => {
  async function uploadPacks(): Promise<number> {
    const { stdout } = await promisify(execFile)('ps', ['-eo', 'args'], { env: testGitEnvironment });
    return stdout.split('\n').filter((line) => line.includes('upload-pack') && line.includes(test.directory))
      .length;
  }

  let large: string;
  beforeAll(async () => {
    await test.source.git('checkout', '--quiet', '-B', 'larger');
    large = await test.source.commit({ large: randomBytes(4 * 1024 ** 2) });
    await test.source.git('checkout', '--quiet', 'main');
    await test.repositories.sync(name);
  });

  const headers = { 'git-protocol': 'version=2' };

  it('end when the client goes away in the middle of the answer', async () => {
    const gone = new AbortController();
    const answer = await ask({ headers, body: Readable.from([fetchRequest(large)]), signal: gone.signal });
    answer.body.once('error', () => {});
    expect(await uploadPacks()).toBeGreaterThan(0);
    gone.abort(new Error('gone'));
    answer.body.destroy();
    await expect.poll(uploadPacks, soon).toBe(0);
  });

  it('end when only the answer is dropped', async () => {
    const answer = await ask({ headers, body: Readable.from([fetchRequest(large)]) });
    answer.body.destroy();
    await expect.poll(uploadPacks, soon).toBe(0);
  });

  it('end at their deadline when nobody reads', async () => {
    const strict = await test.open({
      directory: join(test.directory, 'strict'),
      limits: { uploadSeconds: 1 },
    });
    const answer = await strict.serveGit({
      repositoryName: name,
      path: 'git-upload-pack',
      query: '',
      headers,
      body: Readable.from([fetchRequest(large)]),
      signal: new AbortController().signal,
    });
    answer.body.once('error', () => {});
    expect(await uploadPacks()).toBeGreaterThan(0);
    await expect.poll(uploadPacks, soon).toBe(0);
  });

  it('wait for their turn, and give it up when the client does', async () => {
    const narrow = await test.open({ limits: { concurrentUploads: 1 } });
    const request = (signal: AbortSignal) =>
      narrow.serveGit({
        repositoryName: name,
        path: 'git-upload-pack',
        query: '',
        headers,
        body: Readable.from([fetchRequest(large)]),
        signal,
      });
    const first = await request(new AbortController().signal);
    const impatient = new AbortController();
    const second = request(impatient.signal);
    const third = request(new AbortController().signal);
    impatient.abort(new Error('gone'));
    await expect(second).rejects.toThrow('gone');
    expect((await buffer(first.body)).length).toBeGreaterThan(4 * 1024 ** 2);
    expect((await buffer((await third).body)).length).toBeGreaterThan(4 * 1024 ** 2);
  });

  it('do not start for a client that goes away while it sends', async () => {
    const gone = new AbortController();
    const body = new PassThrough();
    const answer = ask({ headers, body, signal: gone.signal });
    body.write('0011command=fetch');
    gone.abort(new Error('gone'));
    await expect(answer).rejects.toThrow('gone');
    expect(await uploadPacks()).toBe(0);
  });
});
