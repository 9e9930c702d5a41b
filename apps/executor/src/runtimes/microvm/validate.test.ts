import { expect, test } from 'vitest';
import { platformFindings } from './validate.ts';

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
  expect(platformFindings('linux', 'x64', 0)).toEqual([]);
});
