import { readlink } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { VmError } from './vmm.ts';

const seconds = 60;
const pollMilliseconds = 1;

/**
 * Waits until a process that is to get a network namespace has it. Whoever joined the namespace of that process before would be in this
 * machine's own.
 * @param ended resolves when the process is gone, with how it ended
 * @param said what it complained of until then
 * @returns path of the namespace
 * @throws VmError when the process ends before, or takes too long
 */
export async function ownNetwork(pid: number, ended: Promise<string>, said: () => string): Promise<string> {
  const path = `/proc/${pid}/ns/net`;
  const ours = await readlink('/proc/self/ns/net');
  let end: string | undefined;
  ended.then((how) => {
    end = how;
  });
  const begin = performance.now();
  // Of a process that has ended there is none.
  while ((await readlink(path).catch(() => ours)) === ours) {
    if (end !== undefined)
      throw new VmError(`no network namespace was made for the VM (${end})\n${said()}`.trim());
    if (performance.now() - begin > seconds * 1000)
      throw new VmError(`no network namespace was made for the VM within ${seconds} s`);
    await wait(pollMilliseconds);
  }
  return path;
}
