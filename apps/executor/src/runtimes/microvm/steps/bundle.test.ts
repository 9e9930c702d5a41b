import { expect, test } from 'vitest';
import { containerConfig, stepPlace } from './bundle.ts';

const step = {
  name: '0',
  image: 'i',
  scriptPath: '.scripts/0.sh',
  dir: 'sub dir',
  env: ['A=1', 'PATH=/mine'],
};
const image = { env: ['PATH=/image', 'B=2', 'A=0'], user: { uid: 0, gid: 0, additionalGids: [] } };
const limits = { memoryBytes: 1024 ** 2, maxProcesses: 10 };

test('runs the script in its directory, below an init process', () => {
  const { process, root, mounts } = containerConfig(step, image, limits, stepPlace(3));
  expect(process.args).toEqual(['/dev/tini-static', '--', '/bin/sh', '/data/.scripts/0.sh']);
  expect(process.cwd).toBe('/data/sub dir');
  expect(root.path).toBe('/run/scratch/steps/3/root');
  expect(mounts.find(({ destination }) => destination === '/data')).toMatchObject({ source: '/work' });
});

test("gives it the image's variables and above them its own", () => {
  const { process } = containerConfig(step, image, limits, stepPlace(1));
  expect(Object.fromEntries(process.env.map((variable) => variable.split('=')))).toEqual({
    PATH: '/mine',
    HOME: '/root',
    B: '2',
    A: '1',
  });
});

test('bounds and confines it', () => {
  const { process, linux } = containerConfig(step, image, limits, stepPlace(2));
  expect(linux.resources).toEqual({ pids: { limit: 10 }, memory: { limit: 1024 ** 2, swap: 1024 ** 2 } });
  expect(linux.cgroupsPath).toBe('/job/2/container');
  expect(process.noNewPrivileges).toBe(true);
  for (const lost of ['CAP_SYS_ADMIN', 'CAP_NET_RAW', 'CAP_MKNOD', 'CAP_SYS_CHROOT'])
    expect(process.capabilities.bounding).not.toContain(lost);
  expect(linux.namespaces.map(({ type }) => type)).not.toContain('user');
  expect(containerConfig(step, image, { ...limits, memoryBytes: 0 }, stepPlace(1)).linux.resources).toEqual({
    pids: { limit: 10 },
  });
});

test('refuses what is outside the workspace', () => {
  expect(() => containerConfig({ ...step, dir: '../..' }, image, limits, stepPlace(1))).toThrow(
    'outside the workspace',
  );
});
