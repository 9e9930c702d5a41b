import { expect, test } from 'vitest';
import { runCommandLine } from './index.ts';

async function run(args: string[], env: Record<string, string> = {}) {
  let out = '';
  let err = '';
  const code = await runCommandLine({
    args,
    env: { PATH: process.env['PATH'] ?? '', ...env },
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

const working = {
  EXECUTOR_FRONTEND_URL: 'http://127.0.0.1:1',
  EXECUTOR_FRONTEND_PASSWORD: 'hunter2hunter2',
  EXECUTOR_QUEUE_NAME: 'jobs',
  EXECUTOR_USE_FIRECRACKER: 'false',
  DOCKER_HOST: 'unix:///nonexistent/docker.sock',
};

test.each(['help', 'h', '--help', '-h'])('%s lists the commands', async (name) => {
  const { code, out } = await run([name]);
  expect(code).toBe(0);
  expect(out).toMatch(/run .*\n.*\n.*validate/);
});

test.each(['run', 'validate', 'install', 'test-vm', 'attach', 'image', 'config'])(
  '%s --help explains it and does nothing',
  async (name) => {
    expect(await run([name, '--help'])).toMatchObject({
      code: 0,
      out: expect.stringMatching(/Usage: executor/),
      err: '',
    });
  },
);

test.each(['version', '--version', '-v'])('%s prints the version', async (name) => {
  expect(await run([name])).toMatchObject({
    code: 0,
    out: expect.stringMatching(/^executor \d+\.\d+\.\d+ /),
  });
});

test('an unknown command is told on standard output, with exit code 1', async () => {
  expect(await run(['rnu'])).toMatchObject({ code: 1, out: expect.stringContaining('"rnu"'), err: '' });
});

test('an unknown option and a missing part are told', async () => {
  expect(await run(['validate', '--fast'])).toMatchObject({
    code: 1,
    err: expect.stringContaining('"--fast"'),
  });
  expect(await run(['config'])).toMatchObject({ code: 1, err: expect.stringContaining('config print') });
});

test('what test-vm and attach cannot do is told with the way out', async () => {
  expect(await run(['test-vm', '--repo', 'r'])).toMatchObject({
    code: 1,
    err: expect.stringContaining('--repo and --revision go together'),
  });
  expect(await run(['test-vm', '--repo', 'r', '--revision', 'main', '--directory', 'd'])).toMatchObject({
    code: 1,
    err: expect.stringContaining('one of both'),
  });
  expect(await run(['test-vm', '--network', 'x'])).toMatchObject({
    code: 1,
    err: expect.stringContaining('public or none'),
  });
  expect(await run(['attach'])).toMatchObject({ code: 1, err: expect.stringContaining('attach NAME') });
});

test('without settings, run and no command at all tell every mistake', async () => {
  for (const args of [[], ['run']]) {
    const { code, err } = await run(args);
    expect(code).toBe(1);
    expect(err).toContain('there are 3 mistakes in the settings:\n  - EXECUTOR_FRONTEND_URL: no value');
  }
});

test('config print shows sources and masks secrets', async () => {
  const { code, out } = await run(['config', 'print'], working);
  expect(code).toBe(0);
  expect(out).toMatch(/^EXECUTOR_QUEUE_NAME\s+jobs {2}\(EXECUTOR_QUEUE_NAME\)$/m);
  expect(out).toMatch(/^EXECUTOR_JOB_MEMORY\s+12G {2}\(default\)$/m);
  expect(out).not.toContain('hunter2');
  const { out: json } = await run(['config', 'print', '--json'], working);
  expect(JSON.parse(json)).toMatchObject({ warnings: [] });
});

test('validate names what is wrong with machine and instance, and how to mend it', async () => {
  const small = { ...working, EXECUTOR_JOB_MEMORY: '100M' };
  const { code, out } = await run(['validate', '--json'], small);
  expect(code).toBe(1);
  const { ok, checks } = JSON.parse(out) as {
    ok: boolean;
    checks: { name: string; state: string; fix: string }[];
  };
  expect(ok).toBe(false);
  expect(checks.filter(({ state }) => state === 'error').map(({ name }) => name)).toEqual([
    'docker',
    'instance',
  ]);
  expect(checks.filter(({ state, fix }) => state === 'error' && fix === '')).toEqual([]);
  const { out: text } = await run(['validate'], small);
  expect(text).toMatch(/^✓ settings +no mistakes$/m);
  expect(text).toMatch(/^✗ instance +.*ECONNREFUSED.*\n +→ /m);
});

test('run refuses a machine that cannot run jobs', async () => {
  const { code, err } = await run(['run'], working);
  expect(code).toBe(1);
  expect(err).toMatch(/^docker: .*\n {2}-> /m);
});
