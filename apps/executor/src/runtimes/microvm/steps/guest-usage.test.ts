import { expect, test } from 'vitest';
import { parseGuestUsage } from './guest-usage.ts';

const text = `cpu usage_usec 1500000
cpu user_usec 1000000
peak 1048576
memory low 0
memory oom 1
memory oom_kill 0
work 4096 1000 900 880
scratch 4096 1000 30 10
`;

test('reads what the guest tells', () => {
  expect(parseGuestUsage(text)).toEqual({
    cpuSeconds: 1.5,
    peakMemoryBytes: 1048576,
    diskBytes: (100 + 970) * 4096,
    outOfMemory: false,
    fullDrive: 'scratch',
  });
  expect(parseGuestUsage(text.replace('oom_kill 0', 'oom_kill 2')).outOfMemory).toBe(true);
});

test('takes no nonsense', () => {
  expect(parseGuestUsage('')).toEqual({ outOfMemory: false });
  expect(
    parseGuestUsage(
      `cpu usage_usec ${'9'.repeat(30)}\npeak -5\nwork ${'9'.repeat(400)} 1 1 1\nscratch 1 ${'9'.repeat(20)} 1 1`,
    ),
  ).toEqual({ outOfMemory: false });
});
