import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCommandLine } from '../../apps/executor/src/cli/index.ts';
import { type DockerRegistry, startDockerRegistry } from '../kit/docker-registry.ts';
import { dockerArchive, madeImage } from '../kit/made-images.ts';

const image = madeImage([[{ path: 'a', content: 'A' }]]);
const id = image.config.digest.slice(7, 19);
let registry: DockerRegistry;
let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'image-command-'));
  registry = await startDockerRegistry();
  await registry.push('tool', '1', image);
});
afterAll(async () => {
  await registry?.[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

const credentials = () =>
  JSON.stringify({
    auths: { [registry.host]: { auth: Buffer.from('user:password').toString('base64') } },
  });

function run(...args: string[]) {
  return runWith({ EXECUTOR_DOCKER_AUTH_CONFIG: credentials() }, ...args);
}

async function runWith(env: Record<string, string>, ...args: string[]) {
  let out = '';
  let err = '';
  const code = await runCommandLine({
    args: ['image', ...args],
    // No instance, and nothing else that only "run" needs.
    env: { EXECUTOR_DATA_DIR: join(directory, 'data'), HOME: directory, ...env },
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

test('images are pulled, listed, loaded, removed and pruned', async () => {
  expect(await run('list')).toEqual({ code: 0, out: '', err: 'there are no images\n' });
  const name = `${registry.host}/tool:1`;
  const pulled = await run('pull', name);
  expect(pulled).toMatchObject({ code: 0, out: `pulled ${id} ${name} (4 KiB)\n` });
  expect(pulled.err).toContain(`pulling image ${name}`);
  const { out: listed } = await run('list');
  expect(listed).toMatch(
    new RegExp(`^ID +SIZE +LAST USED +IN USE +NAMES\n${id} +4 KiB +\\d{4}-.* no +${name}\n$`),
  );
  expect(JSON.parse((await run('list', '--json')).out)).toMatchObject({
    images: [
      { imageId: image.config.digest, digests: [image.manifest.digest], names: [name], isHeld: false },
    ],
  });

  const archive = join(directory, 'image.tar');
  await writeFile(archive, dockerArchive(image, ['local:1']));
  expect(await run('load', archive)).toMatchObject({
    code: 0,
    out: `loaded ${id} local:1, ${name} (4 KiB)\n`,
  });
  expect((await run('load', archive, 'mine')).out).toContain('mine:latest');
  expect(await run('remove', 'mine')).toMatchObject({ code: 0, out: expect.stringMatching(/^removed /) });
  expect(await run('remove', id)).toMatchObject({
    code: 1,
    err: expect.stringContaining('there is no image'),
  });

  await run('pull', name);
  expect(await run('prune', '--keep', '1G')).toMatchObject({ code: 0, out: '', err: 'nothing to remove\n' });
  expect((await run('prune', '--json')).out).toContain(image.config.digest);
  expect((await run('list', '--json')).out).toBe('{\n  "images": []\n}\n');
});

test('a pull has the credentials that jobs without any of their own have', async () => {
  const name = `${registry.host}/tool:1`;
  await mkdir(join(directory, '.docker'));
  await writeFile(join(directory, '.docker', 'config.json'), credentials());
  expect(await runWith({}, 'pull', name)).toMatchObject({
    code: 1,
    err: expect.stringContaining('without credentials'),
  });
  expect(await runWith({ EXECUTOR_MICROVM_DOCKER_CONFIG: 'true' }, 'pull', name)).toMatchObject({ code: 0 });
});

test('mistakes are told', async () => {
  expect(await run('--help')).toMatchObject({ code: 0, out: expect.stringContaining('prune') });
  const mistakes: [string[], string][] = [
    [[], 'say what to do'],
    [['lsit'], 'there is no command "lsit"'],
    [['pull'], 'something is missing'],
    [['pull', 'a', 'b'], '"b" is too much'],
    [['list', '--keep', '1G'], 'belongs to "image prune"'],
    [['prune', '--keep', 'much'], 'is not a size'],
    [['list', '--fast'], '--fast'],
    [['pull', 'A//b'], 'is not an image reference'],
    [['load', join(directory, 'nothing.tar')], 'no such file'],
  ];
  for (const [args, message] of mistakes)
    expect(await run(...args)).toMatchObject({ code: 1, err: expect.stringContaining(message) });
});
