import { expect, test } from 'vitest';
import { daemonFindings, runcFindings } from './validate.ts';

const facts = {
  version: '27.0',
  numCPUs: 2,
  memoryBytes: 1,
  storageDriver: 'overlay2',
  rootDirectory: '/',
  cgroupDriver: 'systemd',
  cgroupVersion: '2',
  securityOptions: ['name=seccomp,profile=default'],
};

test.each([
  ['1.1.5+ds1', true],
  ['1.1.99', true],
  ['1.2.7', true],
  ['1.2.8', false],
  ['1.3.2', true],
  ['1.3.3', false],
  ['1.4.0', false],
  ['2.0.0', false],
  [undefined, false],
])('knows the holes of runc %s', (version, isOld) => {
  expect(runcFindings(version)).toHaveLength(isOld ? 1 : 0);
});

test('warns of a daemon that isolates less than it could', () => {
  const messages = (options: Partial<typeof facts>): string =>
    daemonFindings({ ...facts, ...options })
      .map((finding) => `${finding.severity}: ${finding.message}`)
      .join('\n');
  expect(messages({})).toMatch(/^warning: steps share this machine's kernel and user namespace[^\n]*$/);
  expect(messages({ cgroupDriver: 'none' })).toContain('error: the Docker daemon has no control groups');
  expect(messages({ securityOptions: [] })).toContain('seccomp is off');
  expect(messages({ storageDriver: 'vfs' })).toContain('vfs');
  expect(messages({ securityOptions: ['name=seccomp', 'name=userns'] })).toContain('remaps users');
});
