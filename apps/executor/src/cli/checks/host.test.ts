import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { checkHost } from './host.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'kiln-host-'));
});
afterEach(() => rm(root, { recursive: true }));

async function host(files: Readonly<Record<string, string>>): Promise<string[]> {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
  return (await checkHost(root)).map(({ state, message }) => `${state}: ${message}`);
}

const header = 'Filename\tType\tSize\tUsed\tPriority\n';
const good = {
  'proc/swaps': `${header}/dev/zram0 partition 1 0 100\n`,
  'sys/kernel/mm/ksm/run': '0\n',
  'sys/devices/system/cpu/smt/active': '0\n',
  'sys/devices/system/cpu/vulnerabilities/mds': 'Not affected\n',
  'sys/devices/system/cpu/vulnerabilities/spectre_v1': 'Mitigation: barriers\n',
};

test('a host as it should be is one line', async () => {
  expect(await host(good)).toEqual([expect.stringMatching(/^ok: no swap/)]);
});

test('a machine that tells nothing is not accused', async () => {
  expect(await host({})).toEqual([expect.stringMatching(/^ok/)]);
});

test.each([
  ['proc/swaps', `${header}/dev/sda2 partition 1 0 -2\n`, '/dev/sda2'],
  ['sys/kernel/mm/ksm/run', '1\n', 'KSM'],
  ['sys/devices/system/cpu/smt/active', '1\n', 'SMT'],
  [
    'sys/devices/system/cpu/vulnerabilities/mds',
    'Vulnerable: Clear CPU buffers attempted, no microcode\n',
    'mds',
  ],
])('%s is told', async (path, text, names) => {
  const lines = await host({ ...good, [path]: text });
  expect(lines).toEqual([expect.stringMatching(/^warning: /)]);
  expect(lines[0]).toContain(names);
});
