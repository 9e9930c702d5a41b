import { expect, test } from 'vitest';
import { areVmNames, vmNames } from './names.ts';

const of = { executor: 'host-uuid', job: 7, attempt: 2 };

test('names are short enough for the kernel, and none is like another', () => {
  const [first, second] = [vmNames(of, 'my executor', '/vms'), vmNames(of, 'my executor', '/vms')];
  expect(first.link.length).toBeLessThanOrEqual(15);
  expect(first.name).toMatch(/^my_executor-7-2-[0-9a-f]{12}$/);
  for (const key of ['sandbox', 'uid', 'directory', 'link', 'table', 'cgroup'] as const)
    expect(first[key]).not.toBe(second[key]);
});

test('a damaged record removes nothing else', () => {
  const names = vmNames(of, 'executor', '/vms');
  expect(areVmNames(names, '/vms')).toBe(true);
  for (const wrong of [{ directory: '/' }, { link: 'eth0' }, { table: 'filter' }, { cgroup: '/docker' }])
    expect(areVmNames({ ...names, ...wrong }, '/vms')).toBe(false);
});
