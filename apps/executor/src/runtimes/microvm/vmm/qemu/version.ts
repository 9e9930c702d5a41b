import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { qemuProgram } from './arguments.ts';

const run = promisify(execFile);
const seconds = 20;

/** @returns such as `7.2.22`; undefined when QEMU is not installed or does not start */
export async function qemuVersion(): Promise<string | undefined> {
  try {
    const { stdout } = await run(qemuProgram, ['--version'], { timeout: seconds * 1000 });
    return /version (\d[\w.]*)/.exec(stdout)?.[1];
  } catch {
    return undefined;
  }
}
