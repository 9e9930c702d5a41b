import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runCommandLine } from './index.ts';

let directory: string;
let instance: Server;
let url: string;
let answers: Record<string, { status: number; headers?: Record<string, string>; body?: string }>;

beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'kiln-install-'));
  answers = {};
  instance = createServer((request, response) => {
    const answer = answers[request.url ?? ''] ?? { status: 404, body: 'none' };
    response.writeHead(answer.status, answer.headers).end(answer.body);
  });
  await new Promise<void>((resolve) => instance.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(instance.address() as { port: number }).port}`;
});
afterEach(async () => {
  instance.closeAllConnections();
  instance.close();
  await rm(directory, { recursive: true });
});

async function install(args: string[], env: Record<string, string> = {}) {
  let out = '';
  let err = '';
  const code = await runCommandLine({
    args: ['install', ...args],
    env: { PATH: process.env['PATH'] ?? '', EXECUTOR_DATA_DIR: directory, ...env },
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    onSignal: () => undefined,
  });
  return { code, out, err };
}

describe('install', () => {
  it.each([[['--help']], [['-h']], [['help']], [['all', '--help']]])('%j explains each', async (args) => {
    const { code, out } = await install(args);
    expect(code).toBe(0);
    for (const what of ['all', 'kernel', 'image', 'src-cli', 'ignite', 'cni', 'iptables-rules', '--bin-dir'])
      expect(out).toContain(what);
  });

  it.each([
    [['ignite']],
    [['ignite', '--bin-dir', '/opt/bin']],
    [['cni']],
    [['iptables-rules', '--recreate-chain']],
    [['image', 'sandbox']],
  ])('%j is not needed, and no mistake', async (args) => {
    expect(await install(args)).toMatchObject({
      code: 0,
      out: expect.stringContaining('not needed'),
      err: '',
    });
  });

  it.each([
    [[], 'say what to install: kernel, image'],
    [['kernle'], 'nothing called "kernle"'],
    [['image', 'debian'], 'unknown arguments'],
    [['kernel', 'image'], 'unknown arguments'],
    [['all', '--fast'], '--fast'],
  ])('%j is told', async (args, message) => {
    expect(await install(args)).toMatchObject({ code: 1, err: expect.stringContaining(message) });
  });
});

describe('install src-cli', () => {
  const name = `src_${process.platform}_${process.arch === 'x64' ? 'amd64' : process.arch}`;

  it('takes the program from the instance, through its redirects', async () => {
    answers[`/base/.api/src-cli/${name}`] = { status: 302, headers: { location: '/elsewhere' } };
    answers['/elsewhere'] = { status: 200, body: '#!program' };
    const bin = path.join(directory, 'new/bin');
    const { code, out } = await install(['src-cli', '--bin-dir', bin], {
      EXECUTOR_FRONTEND_URL: `${url}/base/`,
    });
    expect({ code, out }).toEqual({ code: 0, out: `src-cli: installed ${bin}/src from ${url}\n` });
    expect(await readFile(path.join(bin, 'src'), 'utf8')).toBe('#!program');
    expect((await stat(path.join(bin, 'src'))).mode & 0o777).toBe(0o755);
  });

  it.each([
    ['no instance is set', () => ({}), 'EXECUTOR_FRONTEND_URL'],
    ['the instance has none', () => ({ EXECUTOR_FRONTEND_URL: url }), 'the instance has none'],
    ['nobody answers', () => ({ EXECUTOR_FRONTEND_URL: 'http://127.0.0.1:1' }), 'does not answer'],
  ])('%s: a notice, and no mistake', async (_what, env, message) => {
    const { code, out, err } = await install(['src-cli', '--bin-dir', directory], env());
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toMatch(/^src-cli: not installed; /);
    expect(out).toContain(message);
  });

  it('takes a page for no program', async () => {
    answers[`/.api/src-cli/${name}`] = {
      status: 200,
      headers: { 'content-type': 'text/html' },
      body: '<html>',
    };
    const { code, out } = await install(['src-cli', '--bin-dir', directory], { EXECUTOR_FRONTEND_URL: url });
    expect(code).toBe(0);
    expect(out).toContain('the instance has none');
  });
});
