import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

/** What every VM's boot costs before anything of ours runs: the kernel, with an init that says a word. */
export interface BareBoot extends AsyncDisposable {
  /** @returns milliseconds from the start of QEMU to the word of the guest's init */
  time(signal: AbortSignal): Promise<number>;
}

const word = 'init-is-here';
const init = `#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox echo ${word} >/dev/ttyS0
while :; do /bin/busybox sleep 60; done
`;

export async function prepareBareBoot(options: {
  kernelPath: string;
  accelerator: 'kvm' | 'tcg';
  memoryMebibytes: number;
}): Promise<BareBoot> {
  const directory = await mkdtemp(path.join(tmpdir(), 'kiln-bare-boot-'));
  const root = path.join(directory, 'root');
  await mkdir(path.join(root, 'bin'), { recursive: true });
  await mkdir(path.join(root, 'dev'));
  await copyFile('/bin/busybox', path.join(root, 'bin/busybox'));
  await writeFile(path.join(root, 'init'), init, { mode: 0o755 });
  const archive = path.join(directory, 'initrd');
  const pack = `cd "$1" && find . | busybox cpio -o -H newc >"$2"`;
  await promisify(execFile)('sh', ['-c', pack, 'sh', root, archive]);
  return {
    async time(signal) {
      signal.throwIfAborted();
      const begun = performance.now();
      const qemu = spawn(
        'qemu-system-x86_64',
        [
          ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-machine', 'pc'],
          ...(options.accelerator === 'kvm'
            ? ['-accel', 'kvm', '-cpu', 'host']
            : ['-accel', 'tcg,thread=multi', '-cpu', 'max']),
          ...['-smp', '1', '-m', String(options.memoryMebibytes)],
          ...['-kernel', options.kernelPath, '-initrd', archive],
          ...['-append', 'console=ttyS0 quiet panic=-1', '-serial', 'stdio'],
        ],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      const exited = once(qemu, 'exit');
      const kill = (): void => void qemu.kill('SIGKILL');
      signal.addEventListener('abort', kill, { once: true });
      try {
        let console = '';
        for await (const chunk of qemu.stdout) {
          console += String(chunk);
          if (console.includes(word)) return performance.now() - begun;
        }
        signal.throwIfAborted();
        throw new Error(`the kernel did not come to its init: ${console.slice(-500)}`);
      } finally {
        signal.removeEventListener('abort', kill);
        kill();
        await exited;
      }
    },
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

export function qemuVersion(): string {
  return execFileSync('qemu-system-x86_64', ['--version']).toString().split('\n')[0] ?? '';
}
