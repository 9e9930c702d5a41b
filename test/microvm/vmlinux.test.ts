import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { installedGuest, unpackedKernel } from '../../apps/executor/src/runtimes/microvm/guest/index.ts';
import { runInGuest, startBareVm } from '../kit/bare-vm.ts';
import { guestBuildMs, sharedGuest } from '../kit/guest.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kiln-vmlinux-'));
  await sharedGuest();
}, guestBuildMs);
afterAll(() => rm(directory, { recursive: true, force: true }));

test('the kernel of the guest, unpacked as for Firecracker, boots the guest', async () => {
  const guest = await installedGuest(await sharedGuest());
  const path = await unpackedKernel(directory, guest?.kernelPath ?? '', guest?.digest);
  // QEMU enters an ELF kernel by its PVH note, as Firecracker does.
  await using vm = await startBareVm({}, path);
  await using channel = await vm.connect();
  expect((await runInGuest(channel, ['uname', '-r'])).stdout.trim()).toBe(guest?.kernelVersion);
});
