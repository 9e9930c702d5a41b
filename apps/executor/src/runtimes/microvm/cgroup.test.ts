import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { cgroupFinding, confine } from './cgroup.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'kiln-cgroup-'));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});
const limits = { cpus: 1.5, memoryBytes: 1024 ** 3, processes: 100 };

test('limits a process in the single hierarchy', async () => {
  await writeFile(join(root, 'cgroup.controllers'), 'cpuset cpu io memory pids\n');
  expect(await confine(7, '/kiln-vm-a', limits, root)).toBe(true);
  const text = (file: string) => readFile(join(root, 'kiln-vm-a', file), 'utf8');
  expect(await text('cpu.max')).toBe('150000 100000');
  expect(await text('memory.max')).toBe('1073741824');
  expect(await text('cgroup.procs')).toBe('7');
});

test('limits a process in separate hierarchies, also beside a single one without controllers', async () => {
  for (const controller of ['cpu', 'memory', 'pids']) await mkdir(join(root, controller));
  await writeFile(join(root, 'cgroup.controllers'), 'hugetlb\n');
  expect(await confine(7, '/kiln-vm-a', limits, root)).toBe(true);
  for (const controller of ['cpu', 'memory', 'pids'])
    expect(await readFile(join(root, controller, 'kiln-vm-a', 'cgroup.procs'), 'utf8')).toBe('7');
  expect(await readFile(join(root, 'cpu/kiln-vm-a/cpu.cfs_quota_us'), 'utf8')).toBe('150000');
});

test('says where there are none', async () => {
  expect(await confine(7, '/kiln-vm-a', limits, root)).toBe(false);
  expect(await cgroupFinding(root)).toMatchObject({ check: 'cgroups', severity: 'warning' });
});
