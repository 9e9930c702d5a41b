import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { askEngine } from './engine-call.ts';

const run = promisify(execFile);
const commandSeconds = 60;

/** Images that are made on this machine, without any registry. */
export const demoImages = { busybox: 'kiln-demo/busybox:1', git: 'kiln-demo/git:1' } as const;
/** With those that only tests need. */
export const madeImages = { ...demoImages, perl: 'kiln-demo/perl:1' } as const;
export type ImageKind = keyof typeof madeImages;

/**
 * Makes the images that are missing, out of the packages busybox-static, git and perl-base of this machine.
 */
export async function ensureImages(
  socketPath: string,
  log: (line: string) => void,
  kinds: readonly ImageKind[] = ['busybox', 'git'],
): Promise<void> {
  for (const kind of kinds) await ensureImage(socketPath, madeImages[kind], log, contents[kind]);
}

const contents = {
  busybox: addBusybox,
  async git(root: string): Promise<void> {
    await addBusybox(root);
    await addGit(root);
  },
  async perl(root: string): Promise<void> {
    await addBusybox(root);
    await copyProgram('/usr/bin/perl', root, 'usr/bin/perl');
  },
};

/** Writes one of the images as an archive of the form of `docker save`, without any daemon. */
export async function writeImageArchive(kind: ImageKind, file: string): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'kiln-image-'));
  try {
    const root = join(directory, 'root');
    await mkdir(root, { mode: 0o755 });
    await contents[kind](root);
    await run('tar', [...tarOptions, '--file', join(directory, 'layer.tar'), '--directory', root, '.']);
    const layer = createHash('sha256').update(await readFile(join(directory, 'layer.tar')));
    await writeFile(
      join(directory, 'config.json'),
      JSON.stringify({
        architecture: 'amd64',
        os: 'linux',
        config: { Env: [searchPath] },
        rootfs: { type: 'layers', diff_ids: [`sha256:${layer.digest('hex')}`] },
      }),
    );
    const manifest = [{ Config: 'config.json', RepoTags: [madeImages[kind]], Layers: ['layer.tar'] }];
    await writeFile(join(directory, 'manifest.json'), JSON.stringify(manifest));
    const members = ['manifest.json', 'config.json', 'layer.tar'];
    await run('tar', [...tarOptions, '--file', file, '--directory', directory, ...members]);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const searchPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const tarOptions = ['--create', '--numeric-owner', '--owner=0', '--group=0', '--sort=name', '--mtime=@0'];

async function ensureImage(
  socketPath: string,
  name: string,
  log: (line: string) => void,
  fill: (root: string) => Promise<void>,
): Promise<void> {
  const found = await askEngine(socketPath, {
    method: 'GET',
    path: `/images/${encodeURIComponent(name)}/json`,
  });
  if (found.status === 200) return;
  log(`building image ${name}`);
  const root = await mkdtemp(join(tmpdir(), 'kiln-image-'));
  try {
    await fill(root);
    await importImage(socketPath, name, root);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

async function importImage(socketPath: string, name: string, root: string): Promise<void> {
  const [repository = '', tag = ''] = name.split(':');
  const query = new URLSearchParams({
    fromSrc: '-',
    repo: repository,
    tag,
    changes: `ENV ${searchPath}`,
  });
  const tar = spawn('tar', [...tarOptions, '--directory', root, '.'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const answer = await askEngine(socketPath, {
    method: 'POST',
    path: `/images/create?${query}`,
    body: tar.stdout,
  });
  if (answer.status !== 200 || answer.text.includes('"error"'))
    throw new Error(`image ${name} could not be imported: ${answer.text.trim()}`);
}

async function addBusybox(root: string): Promise<void> {
  for (const directory of ['bin', 'etc', 'root', 'tmp', 'usr/bin', 'usr/sbin', 'sbin', 'var/tmp', 'home'])
    await mkdir(join(root, directory), { recursive: true, mode: directory.endsWith('tmp') ? 0o1777 : 0o755 });
  await copyProgram('/bin/busybox', root, 'bin/busybox');
  const { stdout } = await run('/bin/busybox', ['--list'], { timeout: commandSeconds * 1000 });
  for (const applet of stdout.split('\n').filter((line) => line !== '' && line !== 'busybox'))
    await symlink('busybox', join(root, 'bin', applet));
  await writeFile(
    join(root, 'etc/passwd'),
    'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n',
  );
  await writeFile(join(root, 'etc/group'), 'root:x:0:\nnogroup:x:65534:\n');
}

async function addGit(root: string): Promise<void> {
  const { stdout: execPath } = await run('git', ['--exec-path'], { timeout: commandSeconds * 1000 });
  const core = execPath.trim();
  await copyProgram('/usr/bin/git', root, 'usr/bin/git');
  // Scripts and the bigger helpers (mail, web, foreign version control) are left out.
  for (const helper of ['git-remote-http', 'git-remote-https', 'git-sh-setup'])
    await copyProgram(join(core, helper), root, join(core, helper).slice(1)).catch((error) => {
      if (Reflect.get(Object(error), 'code') !== 'ENOENT') throw error;
    });
  await cp('/usr/share/git-core/templates', join(root, 'usr/share/git-core/templates'), { recursive: true });
}

/** Copies a program with the shared libraries that it loads. */
async function copyProgram(source: string, root: string, target: string): Promise<void> {
  await copyFile(source, join(root, target));
  // A static program makes ldd fail.
  const libraries = await run('ldd', [source], { timeout: commandSeconds * 1000 }).then(
    ({ stdout }) => [...stdout.matchAll(/(\/\S+) \(0x/g)].map((match) => match[1] ?? ''),
    () => [],
  );
  for (const library of libraries) await copyFile(library, join(root, library));
}

async function copyFile(source: string, target: string): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  await cp(await realpath(source), target, { dereference: true });
}
