import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { sharedSecret } from '../../tools/process/programs.ts';
import { startTestDockerd } from '../kit/dockerd.ts';
import { testImages } from '../kit/images.ts';
import { startPlainExecutor } from '../kit/plain-executor.ts';
import { type PlainInstance, startPlainInstance } from '../kit/plain-instance.ts';
import { startTestSite } from '../kit/processes.ts';
import { createTestRepository, type TestRepository } from '../kit/repository.ts';
import { databaseText, processTexts } from './site.ts';

/** Secrets of a job, of its registry and of the instance: looked for wherever somebody else could find them. */

const { busybox: image } = testImages;
const value = 'pa55 wörd/of+the=job & "more"';
const registryPassword = 'registry-pa55word-0123456789';
let dockerd: Awaited<ReturnType<typeof startTestDockerd>>;
let instance: PlainInstance;
let repository: TestRepository;
let directory: string;

beforeAll(async () => {
  dockerd = await startTestDockerd();
  repository = await createTestRepository();
  directory = await mkdtemp(join(tmpdir(), 'kh-'));
});
afterAll(async () => {
  await instance?.[Symbol.asyncDispose]();
  await dockerd?.stop();
  await repository?.[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

it('no secret is in logs, in files of others, or in command lines and environments of programs', async () => {
  const commit = await repository.commit({ 'a.txt': 'a' });
  instance = await startPlainInstance({ repositories: { 'test/repo': join(repository.directory, '.git') } });
  const auth = Buffer.from(`user:${registryPassword}`).toString('base64');
  const executor = await startPlainExecutor({
    instance,
    dockerSocket: dockerd.socketPath,
    directory,
    env: {
      EXECUTOR_DOCKER_AUTH_CONFIG: JSON.stringify({ auths: { 'registry.invalid': { auth } } }),
      EXECUTOR_ENABLE_JOB_AUDIT_LOGGING: 'true',
      SRC_LOG_LEVEL: 'dbug',
      PATH: `${await recordingGit()}:${process.env['PATH']}`,
    },
  });
  try {
    const commands = [
      'printf "%s\\n" "$VALUE" "$PASSWORD" "$AUTH"',
      'printf %s "$VALUE" | base64 -w 0; echo; printf "x%s" "$VALUE" | base64 -w 0; echo; printf "xy%s" "$VALUE" | base64 -w 0; echo',
      'printf %s "$VALUE" | hexdump -v -e \'1/1 "%02x"\'; echo; printf %s "$PASSWORD" | rev; echo; printf %s "$PASSWORD" | base64 -w 0; echo',
      // In pieces, over time and through standard error.
      'for c in registry-pa 55word -0123456789; do printf %s "$c"; sleep 0.2; done; echo; printf "%s\\n" "$VALUE" >&2',
      'sleep 5; exit 3',
    ];
    const job = instance.enqueue({
      repositoryName: 'test/repo',
      commit,
      dockerSteps: [
        {
          key: '',
          image,
          commands,
          dir: '',
          env: [`VALUE=${value}`, `PASSWORD=${registryPassword}`, `AUTH=${auth}`],
        },
      ],
      redactedValues: { [value]: '{{VALUE}}' },
    });
    const seen = await watchWhile(instance.ended(job), [executor.pid, process.pid]);
    const token = instance.requests
      .map(({ headers }) => /^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1])
      .find((found) => found !== undefined);
    expect(token).toMatch(/.{16}/);
    const secrets = [value, registryPassword, auth, instance.sharedSecret, token ?? ''];

    expect(job.failureMessage).toContain('exit code 3');
    const logs = JSON.stringify(job.logs);
    for (const form of secrets.flatMap(forms)) {
      expect(logs).not.toContain(form);
      expect(executor.output).not.toContain(form);
    }
    expect(job.logs.find(({ key }) => key === 'step.docker.0')?.out).toContain('stdout: {{VALUE}}\n');

    const git = await readFile(gitRecord(), 'utf8');
    expect(git).toContain('\nfetch\n');
    for (const secret of secrets) expect(git).not.toContain(secret);
    // The looking was quick enough to see the step.
    expect(seen.commandLines.some((line) => line.includes('sleep'))).toBe(true);
    for (const secret of secrets) {
      for (const line of seen.commandLines) expect(line).not.toContain(secret);
      for (const file of seen.openFiles) expect(file.content, file.path).not.toContain(secret);
    }
    // What the job gives its own step is in that step's environment; nothing of the executor's is in anybody's.
    for (const secret of [instance.sharedSecret, token ?? ''])
      for (const environment of seen.environments) expect(environment).not.toContain(secret);
  } finally {
    await executor.stop();
  }
  for (const path of await files(directory)) {
    if (path.endsWith('executor.log')) continue;
    const content = await readFile(path, 'utf8');
    for (const secret of [value, registryPassword, instance.sharedSecret])
      expect(content).not.toContain(secret);
  }
});

it('the instance keeps neither the shared secret nor job tokens in its database, and logs neither', async () => {
  await using site = await startTestSite({
    dockerSocket: dockerd.socketPath,
    env: { KILN_LOG_LEVEL: 'debug' },
  });
  const { url, adminToken, dataDirectory } = site.instance;
  const secret = await sharedSecret(site.instance);
  await site.kiln(['job', 'submit', '--step', `${image}: true`]);
  const answer = await fetch(`${url}/.executors/queue/jobs/dequeue`, {
    method: 'POST',
    headers: { authorization: `token-executor ${secret}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      executorName: 'test',
      version: '0.0.0',
      numCPUs: 1,
      memory: '1G',
      diskSpace: '1G',
    }),
    signal: AbortSignal.timeout(20_000),
  });
  expect(answer.status).toBe(200);
  const { token } = (await answer.json()) as { token: string };
  expect(token).toMatch(/.{16}/);
  const database = await databaseText(dataDirectory);
  expect(database).toContain('job');
  const log = await readFile(site.instance.process.logFile, 'utf8');
  for (const hidden of [secret, token, adminToken]) {
    for (const form of forms(hidden)) expect(database).not.toContain(form);
    expect(log).not.toContain(hidden);
  }
  for (const path of await files(dataDirectory)) {
    const { mode } = await stat(path);
    if ((mode & 0o044) === 0) continue;
    const content = await readFile(path, 'latin1');
    for (const hidden of [secret, token, adminToken]) expect(content, path).not.toContain(hidden);
  }
});

function gitRecord(): string {
  return join(directory, 'git-record');
}

/** A directory with a git that first writes down its arguments and its whole environment: it ends too soon to be seen. */
async function recordingGit(): Promise<string> {
  const bin = join(directory, 'bin');
  await mkdir(bin);
  const { stdout } = await promisify(execFile)('sh', ['-c', 'command -v git']);
  const script = `#!/bin/sh\n{ printf '%s\\n' "$@"; env; } >>${gitRecord()}\nexec ${stdout.trim()} "$@"\n`;
  await writeFile(join(bin, 'git'), script, { mode: 0o755 });
  return bin;
}

/** A secret as programs write it. */
function forms(secret: string): string[] {
  const bytes = Buffer.from(secret);
  return [
    secret,
    bytes.toString('base64').replace(/=+$/, ''),
    bytes.toString('hex'),
    encodeURIComponent(secret),
    [...secret].reverse().join(''),
  ];
}

interface Seen {
  commandLines: string[];
  environments: string[];
  /** Files that other users of this machine could read, or would if their directories were open. */
  openFiles: { path: string; content: string }[];
}

/** Looks at all processes and at all open files of the executor until a promise resolves. */
async function watchWhile(work: Promise<unknown>, except: readonly number[]): Promise<Seen> {
  const commandLines = new Set<string>();
  const environments = new Set<string>();
  const openFiles = new Map<string, { path: string; content: string }>();
  const executorCommandLine = await readFile(`/proc/${except[0]}/cmdline`);
  let over = false;
  const done = work.finally(() => {
    over = true;
  });
  while (!over) {
    for (const [pid, { commandLine, environment }] of await processTexts()) {
      commandLines.add(commandLine.toString());
      // A child that has not become its program yet is a copy of its parent, which alone may have the secret.
      const copy = executorCommandLine.equals(commandLine) || commandLine.length === 0;
      if (!except.includes(pid) && !copy) environments.add(`${commandLine}: ${environment}`);
    }
    for (const path of await files(join(directory, 'data')).catch(() => [])) {
      const { mode } = await stat(path).catch(() => ({ mode: 0 }));
      if ((mode & 0o044) === 0) continue;
      openFiles.set(path, { path, content: await readFile(path, 'utf8').catch(() => '') });
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await done;
  return {
    commandLines: [...commandLines],
    environments: [...environments],
    openFiles: [...openFiles.values()],
  };
}

async function files(below: string): Promise<string[]> {
  const entries = await readdir(below, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}
