import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { removeCgroup } from './remove-cgroup.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'kiln-cgroup-'));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

test('removes a group from every hierarchy with those below it, and nothing else', async () => {
  await mkdir(join(root, 'cpuacct/kiln-a/1/x'), { recursive: true });
  await mkdir(join(root, 'memory/kiln-a/2'), { recursive: true });
  await mkdir(join(root, 'memory/kiln-b'), { recursive: true });
  await removeCgroup('/kiln-a', root);
  await removeCgroup('/kiln-a', root);
  expect(await readdir(join(root, 'cpuacct'))).toEqual([]);
  expect(await readdir(join(root, 'memory'))).toEqual(['kiln-b']);
});

/** A hierarchy of this machine in which groups can be made; undefined: there is none. */
async function realHierarchy(): Promise<string | undefined> {
  for (const hierarchy of ['pids', ''])
    if (
      await access(join('/sys/fs/cgroup', hierarchy, 'cgroup.procs')).then(
        () => true,
        () => false,
      )
    )
      return join('/sys/fs/cgroup', hierarchy);
  return undefined;
}

const hierarchy = process.getuid?.() === 0 ? await realHierarchy() : undefined;

test.runIf(hierarchy !== undefined)('ends what still runs in it', async () => {
  const group = `/kiln-test-${process.pid}`;
  const below = join(hierarchy ?? '', group, '1');
  await mkdir(below, { recursive: true });
  const child = spawn('sleep', ['600'], { stdio: 'ignore' });
  await writeFile(join(below, 'cgroup.procs'), String(child.pid));
  const ended = once(child, 'exit');
  await removeCgroup(group);
  expect(await ended).toEqual([null, 'SIGKILL']);
  await expect(stat(join(hierarchy ?? '', group))).rejects.toThrow('ENOENT');
});
