import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Check, ok, warning } from './check.ts';

/**
 * How hosts of untrusted VMs should be set up, as far as Linux tells. None of it keeps a job from running, so all of it only warns.
 * @param root of the file system; for tests
 */
export async function checkHost(root = '/'): Promise<Check[]> {
  const read = async (path: string): Promise<string> =>
    (await readFile(join(root, path), 'utf8').catch(() => '')).trim();
  const [swaps, ksm, smt] = await Promise.all([
    read('proc/swaps'),
    read('sys/kernel/mm/ksm/run'),
    read('sys/devices/system/cpu/smt/active'),
  ]);
  const problems = [
    ...swapChecks(swaps),
    ...(ksm === '1'
      ? [
          warning(
            'host',
            'the kernel merges equal pages of memory (KSM), which lets one VM find out what another holds',
            'Turn it off: echo 0 >/sys/kernel/mm/ksm/run',
          ),
        ]
      : []),
    ...(smt === '1'
      ? [
          warning(
            'host',
            'two threads share each core (SMT), through which one job may find out what another computes',
            'Where jobs of strangers meet, turn it off: echo off >/sys/devices/system/cpu/smt/control, or the kernel option nosmt.',
          ),
        ]
      : []),
    ...(await vulnerabilityChecks(root)),
  ];
  return problems.length > 0
    ? problems
    : [ok('host', 'no swap, KSM and SMT are off, and the kernel knows no hole of this processor open')];
}

/** A device behind dm-crypt is named `dm-N`, as is one that is not encrypted; only the kernel's own compressed memory is certain. */
function swapChecks(swaps: string): Check[] {
  const devices = swaps
    .split('\n')
    .slice(1)
    .map((line) => line.split(/\s+/)[0] ?? '')
    .filter((device) => device !== '' && !device.startsWith('/dev/zram'));
  if (devices.length === 0) return [];
  return [
    warning(
      'host',
      `what jobs have in memory, secrets too, may be written to ${devices.join(', ')} (swap)`,
      'Turn it off (swapoff -a), or encrypt it with a key that is lost at each boot.',
    ),
  ];
}

async function vulnerabilityChecks(root: string): Promise<Check[]> {
  const directory = join(root, 'sys/devices/system/cpu/vulnerabilities');
  const names = await readdir(directory).catch(() => []);
  const texts = await Promise.all(
    names.map(async (name) => ({
      name,
      text: await readFile(join(directory, name), 'utf8').catch(() => ''),
    })),
  );
  const open = texts.filter(({ text }) => text.startsWith('Vulnerable')).map(({ name }) => name);
  if (open.length === 0) return [];
  return [
    warning(
      'host',
      `this processor has holes through which one job may read what another holds, and the kernel does not close them: ${open.join(', ')}`,
      'Install the newest microcode and kernel, and remove mitigations=off from the kernel options.',
    ),
  ];
}
