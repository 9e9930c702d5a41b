import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readlink } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { ownNetwork } from '../../apps/executor/src/runtimes/microvm/vmm/own-network.ts';
import { endOf } from '../../apps/executor/src/runtimes/microvm/vmm/process.ts';

/** A process that makes its network namespace when it is told to, and tells when it waits for that. */
async function waiting(command: string) {
  const child = spawn('sh', ['-c', `echo waiting; read -r word; ${command}`], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return { child, pid: child.pid ?? 0, ended: endOf(child) };
}

test('waits until the network is no longer that of this machine', async () => {
  const { child, pid, ended } = await waiting('exec unshare --net sh -c "read -r word"');
  try {
    let isOwn = false;
    const path = ownNetwork(pid, ended, () => '').then((made) => {
      isOwn = true;
      return made;
    });
    for (let round = 0; round < 20; round++) await readlink(`/proc/${pid}/ns/net`);
    expect(isOwn).toBe(false);
    child.stdin.write('\n');
    expect(await readlink(await path)).not.toBe(await readlink('/proc/self/ns/net'));
  } finally {
    child.kill('SIGKILL');
    await ended;
  }
});

test('tells of a process that ended instead', async () => {
  const { child, pid, ended } = await waiting('exit 3');
  child.stdin.end('\n');
  await expect(ownNetwork(pid, ended, () => 'not permitted')).rejects.toThrow(
    'for the VM (exit status 3)\nnot permitted',
  );
});
