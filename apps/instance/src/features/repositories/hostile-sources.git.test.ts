import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { startGitServer } from '../../../../../test/kit/git-server.ts';
import { soon, useRepositories } from '../../../../../test/kit/repositories.ts';
import { createTestRepository, runTestGit, testGitEnvironment } from '../../../../../test/kit/repository.ts';

const test = useRepositories();

describe('a source repository', () => {
  it('runs no code here: hooks, helpers and file system monitors in its configuration', async () => {
    const proof = join(test.directory, 'proof');
    const script = join(test.source.directory, 'evil');
    await writeFile(script, `#!/bin/sh\ntouch ${proof}\nexit 1\n`);
    await chmod(script, 0o755);
    await mkdir(join(test.source.directory, '.git/hooks'), { recursive: true });
    await test.source.commit({ a: 'a' });
    for (const hook of ['post-checkout', 'reference-transaction', 'pre-auto-gc', 'post-update']) {
      await symlink(script, join(test.source.directory, '.git/hooks', hook));
    }
    for (const key of [
      'uploadpack.packObjectsHook',
      'core.fsmonitor',
      'core.sshCommand',
      'core.alternateRefsCommand',
      'core.askPass',
      'credential.helper',
      'core.pager',
    ]) {
      await test.source.git('config', key, script);
    }
    await test.repositories.register({ name: 'a', cloneURL: test.source.directory });
    expect(await test.repositories.sync('a')).toMatchObject({ status: 'ready' });
    await test.repositories.resolve('a', 'main');
    expect(existsSync(proof)).toBe(false);
    const [mirror = ''] = await test.mirrors();
    expect(await readdir(mirror)).not.toContain('hooks');
  });

  it('is not followed into submodules', async () => {
    await using other = await createTestRepository();
    await other.commit({ secret: 's' });
    await test.source.commit({ a: 'a' });
    await test.source.git(
      '-c',
      'protocol.file.allow=always',
      'submodule',
      '--quiet',
      'add',
      other.directory,
      'sub',
    );
    await test.source.commit({}, 'Add a submodule');
    await test.repositories.register({ name: 'a', cloneURL: test.source.directory });
    await test.repositories.sync('a');
    const [mirror = ''] = await test.mirrors();
    expect(existsSync(join(mirror, 'modules'))).toBe(false);
  });

  it('with trees or .gitmodules that hurt a checkout is refused', async () => {
    await test.source.commit({ '.gitmodules': '[submodule "x"]\n\tpath = x\n\turl = --upload-pack=evil\n' });
    await test.repositories.register({ name: 'a', cloneURL: test.source.directory });
    await expect(test.repositories.sync('a')).rejects.toMatchObject({
      code: 'fetch_failed',
      message: expect.stringContaining('gitmodulesUrl'),
      hint: expect.stringContaining('could harm whoever checks it out'),
    });
    expect(await test.mirrors()).toEqual([]);
  });

  it('with the harmless flaws of old tools is taken', async () => {
    await test.source.commit({ a: 'a' });
    const tree = await test.source.git('rev-parse', 'HEAD^{tree}');
    const commit = `tree ${tree}\nauthor No Email 1234567890 +051800\ncommitter x <x> 1234567890 +0000\n\nOld\n`;
    await writeFile(join(test.source.directory, 'commit'), commit);
    const id = await test.source.git('hash-object', '-t', 'commit', '-w', '--literally', 'commit');
    await test.source.git('update-ref', 'refs/heads/old', id);
    await test.repositories.register({ name: 'a', cloneURL: test.source.directory });
    expect((await test.repositories.resolve('a', 'old')).commit).toBe(id);
  });

  it('may have odd names for branches and tags', async () => {
    const commit = await test.source.commit({ a: 'a' });
    const names = [
      '-x',
      '--upload-pack=evil',
      "a'b;c",
      '$(id)',
      'HEAD',
      'ä/ö',
      `a"b`,
      commit,
      'x/refs/heads/y',
    ];
    for (const name of names) await test.source.git('update-ref', `refs/heads/${name}`, commit);
    await test.source.git('update-ref', 'refs/tags/main', commit);
    await test.repositories.register({ name: 'a', cloneURL: test.source.directory });
    expect(await test.repositories.sync('a')).toMatchObject({ status: 'ready', defaultBranch: 'main' });
    for (const name of names.slice(2)) {
      expect((await test.repositories.resolve('a', name)).commit, name).toBe(commit);
    }
    // A default branch that looks like an option.
    await test.source.git('symbolic-ref', 'HEAD', 'refs/heads/--upload-pack=evil');
    expect(await test.repositories.sync('a')).toMatchObject({ defaultBranch: '--upload-pack=evil' });
    expect((await test.repositories.resolve('a')).commit).toBe(commit);
  });

  it('in a directory of another user is read, without what it borrows from others', async (context) => {
    if (process.getuid?.() !== 0) context.skip('needs root to give directories away');
    await using secret = await createTestRepository();
    await secret.commit({ secret: 's' });
    const commit = await test.source.commit({ a: 'a' });
    await giveAway(test.source.directory);
    await test.repositories.register({ name: 'a', cloneURL: test.source.directory });
    expect((await test.repositories.resolve('a')).commit).toBe(commit);

    await writeFile(
      join(test.source.directory, '.git/objects/info/alternates'),
      `${join(secret.directory, '.git/objects')}\n`,
    );
    await expect(test.repositories.sync('a')).rejects.toMatchObject({
      code: 'fetch_failed',
      message: expect.stringContaining('belongs to another user'),
    });

    await using pointing = await createTestRepository();
    const link = join(pointing.directory, 'link');
    await mkdir(link);
    await writeFile(join(link, '.git'), `gitdir: ${join(secret.directory, '.git')}\n`);
    await giveAway(pointing.directory);
    await expect(test.repositories.register({ name: 'b', cloneURL: link })).rejects.toMatchObject({
      code: 'invalid_clone_url',
      message: expect.stringContaining('belongs to another user'),
    });
  });

  it('may borrow from its own owner: a worktree, a shared clone', async () => {
    const commit = await test.source.commit({ a: 'a' });
    const shared = `${test.source.directory}-shared`;
    await test.source.git('worktree', 'add', '--quiet', '--detach', `${test.source.directory}-worktree`);
    await runTestGit('/', 'clone', '--quiet', '--shared', test.source.directory, shared);
    for (const [name, cloneURL] of [
      ['worktree', `${test.source.directory}-worktree`],
      ['shared', shared],
      ['url', `file://${shared}`],
    ] as const) {
      await test.repositories.register({ name, cloneURL });
      expect((await test.repositories.resolve(name)).commit).toBe(commit);
    }
    const mirrors = await test.mirrors();
    for (const mirror of mirrors) {
      expect(existsSync(join(mirror, 'objects/info/alternates'))).toBe(false);
    }
  });

  it('over the size limit is refused while it comes, and leaves nothing', async () => {
    const small = await test.open({
      directory: test.directory,
      limits: { maxMirrorBytes: 4 * 1024 ** 2 },
    });
    await test.source.commit({ large: randomBytes(16 * 1024 ** 2) });
    await small.register({ name: 'a', cloneURL: test.source.directory });
    await expect(small.sync('a')).rejects.toMatchObject({
      code: 'fetch_failed',
      message: expect.stringContaining('larger than the limit of 4 MiB'),
    });
    expect((await small.get('a')).lastError).toContain('larger than the limit');
    expect(await test.mirrors()).toEqual([]);
  });

  it('that outgrows the limit keeps its mirror as it was', async () => {
    await test.source.commit({ a: 'a' });
    const small = await test.open({
      directory: test.directory,
      limits: { maxMirrorBytes: 4 * 1024 ** 2 },
    });
    await small.register({ name: 'a', cloneURL: test.source.directory });
    const { commit } = await small.resolve('a');
    await test.source.commit({ large: randomBytes(16 * 1024 ** 2) });
    await expect(small.sync('a')).rejects.toMatchObject({ code: 'fetch_failed' });
    expect((await small.resolve('a', commit)).commit).toBe(commit);
  });
});

describe('a hostile server', () => {
  async function expectFailure(cloneURL: string, message: RegExp): Promise<void> {
    await test.repositories.register({ name: 'a', cloneURL });
    await expect(test.repositories.sync('a')).rejects.toMatchObject({
      code: 'fetch_failed',
      message: expect.stringMatching(message),
    });
    expect((await test.repositories.get('a')).lastError).toMatch(message);
  }

  it.each(['file:///etc', 'ext::sh -c id', 'ftp://127.0.0.1/x', 'https://127.0.0.1:1/x'])(
    'is not followed to %s',
    async (location) => {
      await using server = await startGitServer({
        root: '/',
        intercept(_request, response) {
          response.writeHead(302, { location }).end();
          return true;
        },
      });
      await expectFailure(`${server.url}/x`, /302|redirect|unable to/i);
    },
  );

  it('cannot redirect plain http to another server', async () => {
    await test.source.commit({ a: 'a' });
    await using target = await startGitServer({ root: join(test.source.directory, '..') });
    await using server = await startGitServer({
      root: '/',
      intercept(request, response) {
        response.writeHead(302, { location: `${target.url}/repository/.git${request.url?.slice(2)}` }).end();
        return true;
      },
    });
    await expectFailure(`${server.url}/x`, /302/);
    expect(target.requests).toEqual([]);
  });

  it('that hangs is left at the time limit', async () => {
    const strict = await test.open({ limits: { fetchSeconds: 1 } });
    await using server = await startGitServer({ root: '/', intercept: () => true });
    await strict.register({ name: 'a', cloneURL: `${server.url}/x` });
    const started = performance.now();
    await expect(strict.sync('a')).rejects.toMatchObject({
      code: 'fetch_failed',
      message: expect.stringContaining('took longer than 1 s'),
    });
    expect(performance.now() - started).toBeLessThan(5000);
  });

  it('that trickles is left by its low speed', async () => {
    const strict = await test.open({ limits: { stallSeconds: 2 } });
    await using server = await startGitServer({
      root: '/',
      intercept(_request, response) {
        response.writeHead(200, { 'content-type': 'application/x-git-upload-pack-advertisement' });
        const timer = setInterval(() => response.write('0'), 200);
        response.once('close', () => clearInterval(timer));
        return true;
      },
    });
    await strict.register({ name: 'a', cloneURL: `${server.url}/x` });
    await expect(strict.sync('a')).rejects.toMatchObject({
      code: 'fetch_failed',
      message: expect.stringMatching(/too slow|timed out/i),
    });
  });

  it('gets no credentials, and its messages are made harmless', async () => {
    const seen: (string | undefined)[] = [];
    await using server = await startGitServer({
      root: '/',
      intercept(request, response) {
        seen.push(request.headers.authorization);
        response.writeHead(401, { 'www-authenticate': 'Basic realm="x"', 'content-type': 'text/plain' });
        response.end('\x1b[31mgo to https://me:hunter2@evil.example/ \x07\u202e now');
        return true;
      },
    });
    await expectFailure(`${server.url}/x`, /could not read Username/);
    expect(seen.every((header) => header === undefined)).toBe(true);
    const { lastError } = await test.repositories.get('a');
    expect(lastError).not.toContain('hunter2');
    expect(lastError).not.toMatch(/[^\n\P{C}]/u);
  });

  it('that floods the error output does no harm', async () => {
    await using server = await startGitServer({
      root: '/',
      intercept(_request, response) {
        response.writeHead(500, { 'content-type': 'text/plain' });
        response.end('x'.repeat(5 * 1024 ** 2));
        return true;
      },
    });
    await test.repositories.register({ name: 'a', cloneURL: `${server.url}/x` });
    await expect(test.repositories.sync('a')).rejects.toMatchObject({ code: 'fetch_failed' });
    expect((await test.repositories.get('a')).lastError?.length).toBeLessThanOrEqual(2100);
  });

  it('leaves no process behind when the instance stops', async () => {
    await using server = await startGitServer({ root: '/', intercept: () => true });
    const other = await test.open();
    await other.register({ name: 'a', cloneURL: `${server.url}/never-answers` });
    await expect.poll(() => server.requests.length, soon).toBe(1);
    await other[Symbol.asyncDispose]();
    const { stdout } = await promisify(execFile)('ps', ['-eo', 'args'], { env: testGitEnvironment });
    expect(stdout).not.toContain(`${server.url}/never-answers`);
  });
});

describe('ssh', () => {
  it('never asks, and never trusts a host at first sight', async () => {
    // Not an ssh server: what matters is how ssh was called, and that its failure is told.
    const server = createServer((socket) => socket.end('SSH-2.0-none\r\n'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const bin = join(test.directory, 'bin');
    await mkdir(bin);
    await writeFile(
      join(bin, 'ssh'),
      `#!/bin/sh\nprintf '%s\\n' "$@" > ${join(test.directory, 'ssh-arguments')}\necho 'Host key verification failed.' >&2\nexit 255\n`,
      { mode: 0o755 },
    );
    const other = await test.open({ environment: { PATH: `${bin}:${process.env['PATH']}` } });
    await other.register({ name: 'a', cloneURL: 'git@git.example.invalid:acme/widgets.git' });
    await expect(other.sync('a')).rejects.toMatchObject({
      code: 'fetch_failed',
      message: expect.stringContaining('Host key verification failed'),
      hint: expect.stringContaining('known_hosts'),
    });
    const args = (await readFile(join(test.directory, 'ssh-arguments'), 'utf8')).split('\n');
    expect(args).toContain('-oBatchMode=yes');
    expect(args).toContain('-oStrictHostKeyChecking=yes');
    expect(args).toContain('git@git.example.invalid');
    server.close();
  });
});

async function giveAway(directory: string): Promise<void> {
  await chown(directory, 12_345, 12_345);
  for (const entry of await readdir(directory, { recursive: true })) {
    await chown(join(directory, entry), 12_345, 12_345);
  }
}
