import { expect, test } from 'vitest';
import { directoryFindings, platformFindings } from './validate.ts';

test('another platform is told, with the way out', () => {
  for (const [platform, architecture] of [
    ['darwin', 'x64'],
    ['linux', 'arm64'],
  ] as const)
    expect(platformFindings(platform, architecture, 0)).toMatchObject([
      { severity: 'error', fix: expect.stringContaining('EXECUTOR_USE_FIRECRACKER=false') },
    ]);
});

test('root is needed', () => {
  expect(platformFindings('linux', 'x64', 1000)).toMatchObject([
    { message: expect.stringContaining('root') },
  ]);
  expect(platformFindings('linux', 'x64', 0)).toMatchObject([{ severity: 'ok' }]);
});

test('refuses a data directory in which no socket of a VM can be reached', () => {
  expect(directoryFindings(`/${'d'.repeat(106)}`)).toEqual([]);
  expect(directoryFindings(`/${'ü'.repeat(54)}`)).toMatchObject([
    { severity: 'error', message: expect.stringContaining('is 2 bytes too long') },
  ]);
});
