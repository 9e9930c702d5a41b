import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { hasHole } from '../../../known-holes.ts';
import type { Finding } from '../../../runtime.ts';
import { qemuProgram } from './arguments.ts';

const run = promisify(execFile);
const seconds = 20;
/** CVE-2024-3446: a double free in the virtio port that is a guest's control channel. */
const mended = [
  [7, 2, 11],
  [8, 2, 3],
] as const;

/** @returns such as `7.2.22`; undefined when QEMU is not installed or does not start */
export async function qemuVersion(): Promise<string | undefined> {
  try {
    const { stdout } = await run(qemuProgram, ['--version'], { timeout: seconds * 1000 });
    return /version (\d[\w.]*)/.exec(stdout)?.[1];
  } catch {
    return undefined;
  }
}

/** @param version as of {@link qemuVersion} */
export function qemuFinding(version: string | undefined): Finding {
  if (version === undefined)
    return {
      check: 'qemu',
      severity: 'error',
      message: `QEMU (${qemuProgram}) is not installed or does not start`,
      fix: 'Install it (Debian: apt-get install qemu-system-x86).',
    };
  if (hasHole(version, mended))
    return {
      check: 'qemu',
      severity: 'warning',
      message: `QEMU ${version} has a hole that a guest can use (CVE-2024-3446), unless your distribution has mended it in its own package`,
      fix: 'Upgrade to QEMU 7.2.11, 8.2.3, 9.0 or newer, or to the newest package of your distribution.',
    };
  return { check: 'qemu', severity: 'ok', message: `QEMU ${version}`, fix: '' };
}
