import { expect, test } from 'vitest';
import { parseGuestUsage } from './guest-usage.ts';

const text = `/sys/fs/cgroup/job/1/cpu.stat:usage_usec 1500000
/sys/fs/cgroup/job/1/cpu.stat:user_usec 1000000
/sys/fs/cgroup/job/1/memory.peak:1048576
/sys/fs/cgroup/job/1/memory.events:low 0
/sys/fs/cgroup/job/1/memory.events:oom 1
/sys/fs/cgroup/job/1/memory.events:oom_kill 0
drive /work 4096 1000 900 880
drive /run/scratch 4096 1000 30 10
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
      [
        `/cpu.stat:usage_usec ${'9'.repeat(30)}`,
        '/memory.peak:-5',
        `drive /work ${'9'.repeat(400)} 1 1 1`,
        `drive /run/scratch 1 ${'9'.repeat(20)} 1 1`,
      ].join('\n'),
    ),
  ).toEqual({ outOfMemory: false });
});
