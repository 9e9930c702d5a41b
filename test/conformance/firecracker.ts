import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createMicrovmRuntime } from '../../apps/executor/src/runtimes/microvm/index.ts';
import { findFirecracker } from '../../apps/executor/src/runtimes/microvm/vmm/index.ts';
import { sharedGuest } from '../kit/guest.ts';

/** @returns why Firecracker runs no VM on this machine; undefined where a test boot of it works */
export async function whyNoFirecracker(): Promise<string | undefined> {
  const programs = await findFirecracker();
  if ('because' in programs) return programs.because;
  const dataDirectory = await mkdtemp(join(tmpdir(), 'kiln-firecracker-'));
  try {
    await symlink(join(await sharedGuest(), 'guest'), join(dataDirectory, 'guest'));
    await using runtime = createMicrovmRuntime({
      executorName: 'conformance-00000000',
      vmm: 'firecracker',
      vmPrefix: 'kiln',
      dataDirectory,
      maxImageBytes: 1,
      instanceURL: new URL('http://127.0.0.1:1'),
      minFreeDiskBytes: 0,
      warn: () => undefined,
    });
    const findings = await runtime.validate(AbortSignal.timeout(120_000));
    return findings.find(({ severity }) => severity === 'error')?.message;
  } finally {
    await rm(dataDirectory, { recursive: true, force: true });
  }
}
