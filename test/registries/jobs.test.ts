import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { JobView, SecretUseList } from '@kiln/protocol';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startExecutorProcess } from '../../tools/process/programs.ts';
import type { RunningProcess } from '../../tools/process/running-process.ts';
import { busyboxImage } from '../kit/busybox-image.ts';
import { type DockerRegistry, startDockerRegistry } from '../kit/docker-registry.ts';
import { startTestDockerd } from '../kit/dockerd.ts';
import { guestBuildMs, sharedGuest } from '../kit/guest.ts';
import { startTestSite, type TestSite } from '../kit/processes.ts';

/** Jobs with a secret and with images of two private registries, from `kiln secret set` to the log, in both runtimes. */

const encoded = (user: string) => Buffer.from(`${user}:password`).toString('base64');
const pem = `-----BEGIN KEY-----\n${randomBytes(96).toString('base64').replace(/.{64}/, '$&\n')}\n\t"$x' é\n-----END KEY-----`;
const pemHash = createHash('sha256').update(pem).digest('hex');
const waitSeconds = 280;
let dockerd: Awaited<ReturnType<typeof startTestDockerd>>;
let registries: [DockerRegistry, DockerRegistry];
let site: TestSite;

beforeAll(async () => {
  dockerd = await startTestDockerd();
  registries = [
    await startDockerRegistry(dockerd.networkNamespace),
    await startDockerRegistry(dockerd.networkNamespace),
  ];
  const image = await busyboxImage();
  for (const registry of registries) await registry.push('private/shell', '1', image);
  site = await startTestSite({ dockerSocket: dockerd.socketPath });
});
afterAll(async () => {
  await site?.[Symbol.asyncDispose]();
  for (const registry of registries ?? []) await registry[Symbol.asyncDispose]();
  await dockerd?.stop();
});

/** Has no credentials for the second registry: a job has them from the secret or not at all. */
const executorEnv = () => ({
  EXECUTOR_DOCKER_ALLOW_LOCAL_IMAGES: 'false',
  EXECUTOR_DOCKER_AUTH_CONFIG: JSON.stringify({
    auths: { [registries[0].host]: { auth: encoded('setting') } },
  }),
  EXECUTOR_JOB_NUM_CPUS: '1',
  EXECUTOR_JOB_MEMORY: '256M',
  SRC_LOG_LEVEL: 'dbug',
});

describe.each<{ runtime: string; start(directory: string): Promise<RunningProcess> }>([
  { runtime: 'docker', start: () => site.startExecutor(executorEnv()) },
  {
    runtime: 'microvm',
    async start(directory) {
      await mkdir(directory);
      await symlink(join(await sharedGuest(), 'guest'), join(directory, 'guest'));
      return startExecutorProcess({
        instance: site.instance,
        dataDirectory: directory,
        logFile: join(site.directory, 'executor-microvm.log'),
        env: { ...executorEnv(), EXECUTOR_FIRECRACKER_DISK_SPACE: '256M' },
      });
    },
  },
])('in runtime $runtime', ({ runtime, start }) => {
  test('a job has its secret, and its images by the other secret, before what the executor has, and nothing of it stays', {
    timeout: (2 * waitSeconds + 300) * 1000 + guestBuildMs,
  }, async () => {
    const auths = Object.fromEntries(registries.map(({ host }) => [host, { auth: encoded('secret') }]));
    for (const [key, stdin] of [
      ['DOCKER_AUTH_CONFIG', JSON.stringify({ auths })],
      ['PEM', `${pem}\n`],
    ] as const)
      expect(await site.kiln(['secret', 'set', key], { stdin })).toMatchObject({ code: 0 });
    for (const registry of registries) registry.requests.length = 0;
    const executor = await start(join(site.directory, `executor-${runtime}`));
    try {
      const script = `test "$(printf %s "$PEM" | sha256sum)" = "${pemHash}  -"; printf '%s\\n' "$PEM"`;
      const steps = registries.map(({ host }) => `${host}/private/shell:1: ${script}`);
      const args = ['job', 'submit', '--timeout', `${waitSeconds}s`, '--wait', '--json'];
      const both = ['--secret', 'PEM', '--step', steps[0] ?? '', '--step', steps[1] ?? ''];
      const done = await site.kiln([...args, ...both]);
      expect(done.code, `${done.stdout}${done.stderr}`).toBe(0);
      for (const { requests } of registries) {
        const seen = new Set(requests.flatMap(({ authorization }) => authorization ?? []));
        expect([...seen]).toEqual([`Basic ${encoded('secret')}`]);
      }
      const { jobs } = await site.kilnJson<{ jobs: JobView[] }>(['job', 'list']);
      const { uses } = await site.kilnJson<SecretUseList>(['secret', 'uses']);
      const [job] = jobs;
      expect(uses.filter(({ jobId }) => jobId === job?.id)).toEqual(
        expect.arrayContaining([
          expect.objectContaining({ key: 'DOCKER_AUTH_CONFIG', cause: 'registry' }),
          expect.objectContaining({ key: 'PEM', cause: 'requested' }),
        ]),
      );
      const log = await site.kiln(['job', 'logs', String(job?.id)]);
      for (const line of pem.split('\n')) expect(log.stdout).not.toContain(line);
      expect(log.stdout).toContain(`\${{ secrets.PEM }}`);

      await site.kiln(['secret', 'remove', 'DOCKER_AUTH_CONFIG']);
      const refused = await site.kiln([...args, '--step', steps[1] ?? '']);
      expect(refused.code).toBe(1);
      expect(refused.stdout + refused.stderr).toContain('refuses');
    } finally {
      await executor.stop();
    }
    for (const path of await files(site.directory)) {
      const content = await readFile(path, 'latin1');
      for (const text of [encoded('secret'), encoded('setting'), pem.split('\n')[1] ?? ''])
        expect(content.includes(text), path).toBe(false);
    }
  });
});

async function files(below: string): Promise<string[]> {
  const entries = await readdir(below, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}
