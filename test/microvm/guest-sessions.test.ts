import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { GuestChannel } from '../../apps/executor/src/runtimes/microvm/channel/index.ts';
import { type BareVm, runInGuest, startBareVm } from '../kit/bare-vm.ts';
import { guestBuildMs } from '../kit/guest.ts';

let vm: BareVm;

beforeAll(async () => {
  vm = await startBareVm();
  await (await vm.connect())[Symbol.asyncDispose]();
}, guestBuildMs);
afterAll(async () => {
  await vm?.[Symbol.asyncDispose]();
});

/** Programs that run in the guest beside kernel threads, init, the agent and those that ask. */
async function foreignProcesses(channel: GuestChannel): Promise<string[]> {
  // The 23rd field, the size of the address space, is 0 for kernel threads; the second is the program in parentheses.
  const script = "awk '$23 > 0 { print $2 }' /proc/[0-9]*/stat 2>/dev/null";
  const { stdout } = await runInGuest(channel, ['sh', '-c', script]);
  return stdout
    .split('\n')
    .filter((program) => !['', '(perl)', '(init.pl)', '(sh)', '(awk)'].includes(program));
}

describe('sessions with the guest', () => {
  test('50 cuts at random positions: each time the next one works, and nothing of the last is left', async () => {
    for (let round = 0; round < 50; round++) {
      await using channel = await vm.connect();
      const name = randomBytes(6).toString('hex');
      expect(await runInGuest(channel, ['cat'], { input: name })).toMatchObject({
        exit: { code: 0 },
        stdout: name,
      });
      expect(await foreignProcesses(channel)).toEqual([]);
      // In the middle of output, of input, of a file, of many starts.
      const work: Promise<unknown>[] = [];
      const ignore = () => undefined;
      if (round % 4 !== 3)
        work.push(
          channel
            .exec({
              argv: ['sh', '-c', 'setsid sleep 1000 & cat /dev/zero'],
              output: { write: async () => ignore() },
            })
            .then(({ exit }) => exit)
            .catch(ignore),
        );
      if (round % 4 === 1)
        work.push(
          channel
            .exec({ argv: ['sh', '-c', 'cat >/dev/null'] })
            .then((process) => process.write(randomBytes(4_000_000)))
            .catch(ignore),
        );
      if (round % 4 === 2) work.push(channel.writeFile('/tmp/half', randomBytes(4_000_000)).catch(ignore));
      if (round % 4 === 3)
        for (let n = 0; n < 10; n++) work.push(runInGuest(channel, ['sleep', '1000']).catch(ignore));
      await pause(Math.random() * 60);
      await channel[Symbol.asyncDispose]();
      await Promise.all(work);
    }
    await using channel = await vm.connect();
    // The group of this very command is the only one, and half a file is nowhere.
    const script = 'cd /sys/fs/cgroup/kiln.exec; find . -mindepth 1 -type d | wc -l; ls -A /tmp';
    const { stdout } = await runInGuest(channel, ['sh', '-c', script]);
    expect(stdout.replace(/^half\n/m, '')).toBe('1\n');
  }, 600_000);

  test('garbage and half frames of a host before', async () => {
    for (const garbage of [
      randomBytes(70_000),
      Buffer.from('KILN>hello>v1>\r\n'),
      Buffer.concat([Buffer.from('KILN>hello>v1>\r\n'), randomBytes(15)]),
      Buffer.concat([Buffer.from('KILN>hello>v1>\r\n'), randomBytes(16), randomBytes(40)]),
    ]) {
      const socket = await raw(vm.socketPath);
      await new Promise((resolve) => socket.write(garbage, resolve));
      socket.destroy();
      await using channel = await vm.connect();
      expect((await runInGuest(channel, ['echo', 'well'])).stdout).toBe('well\n');
    }
  });

  test('an agent that is killed comes back, without what it ran; the host notices', async () => {
    await using channel = await vm.connect();
    const sleeping = await channel.exec({ argv: ['sleep', '1000'] });
    const murder = await channel.exec({
      argv: ['sh', '-c', 'for p in $(pidof perl); do [ $p = 1 ] || kill -9 $p; done; sleep 1000'],
    });
    const closed = await channel.closed;
    expect(closed.message).toContain('the VM broke the control protocol');
    await expect(sleeping.exit).rejects.toBe(closed);
    await expect(murder.exit).rejects.toBe(closed);
    await using next = await vm.connect();
    expect(await foreignProcesses(next)).toEqual([]);
    expect((await runInGuest(next, ['echo', 'well'])).stdout).toBe('well\n');
  });

  test('process 1 cannot be killed from inside', async () => {
    await using channel = await vm.connect();
    const { exit } = await runInGuest(channel, [
      'sh',
      '-c',
      'for s in 1 2 3 9 11 15; do kill -$s 1; done; kill -0 1',
    ]);
    expect(exit).toEqual({ code: 0 });
  });

  test('a panic ends the VM', async () => {
    await using channel = await vm.connect();
    await channel.exec({ argv: ['sh', '-c', 'echo c >/proc/sysrq-trigger'] });
    await vm.ended;
    expect((await channel.closed).message).toContain('the VM closed the connection');
    await expect(vm.connect()).rejects.toThrow('QEMU ended');
  });
});

function raw(socketPath: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket: Socket = connect({ path: socketPath }, () => resolve(socket));
    socket.on('error', reject);
  });
}
