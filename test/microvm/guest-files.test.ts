import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { GuestChannel } from '../../apps/executor/src/runtimes/microvm/channel/index.ts';
import { type BareVm, runInGuest, startBareVm } from '../kit/bare-vm.ts';
import { guestBuildMs } from '../kit/guest.ts';

let directory: string;
let vm: BareVm;
let channel: GuestChannel;

beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'kiln-drives-'));
  vm = await startBareVm({ work: await drive('work'), scratch: await drive('scratch') });
  channel = await vm.connect();
}, guestBuildMs);
afterAll(async () => {
  await channel?.[Symbol.asyncDispose]();
  await vm?.[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

async function drive(name: string): Promise<string> {
  const file = path.join(directory, name);
  await writeFile(file, '');
  await truncate(file, 64 * 1024 * 1024);
  await promisify(execFile)('/sbin/mkfs.ext4', ['-q', '-F', '-m0', '-O', '^has_journal', file]);
  return file;
}

const sh = async (script: string) => {
  const { exit, stdout } = await runInGuest(channel, ['sh', '-c', script]);
  expect(exit).toEqual({ code: 0 });
  return stdout;
};

describe('drives', () => {
  test('are mounted by their names, closed to devices and set-user-id programs', async () => {
    const mounts = await sh('cat /proc/mounts');
    expect(mounts).toMatch(/^\/dev\/vd. \/work ext4 rw,nosuid,nodev,noatime/m);
    expect(mounts).toMatch(/^\/dev\/vd. \/run\/scratch ext4 rw,nodev,noatime/m);
    expect(mounts).toMatch(/^cgroup2 \/sys\/fs\/cgroup cgroup2 /m);
    expect(await sh('cat /sys/fs/cgroup/cgroup.subtree_control')).toMatch(/cpu io memory pids/);
  });
});

describe('files of the guest', () => {
  test('come and go unchanged, whatever their size', async () => {
    for (const size of [0, 1, 65_536, 5_000_001]) {
      const bytes = randomBytes(size);
      await channel.writeFile('/work/made/on/the/way/file', bytes, 0o640);
      expect(
        Buffer.from((await channel.readFile('/work/made/on/the/way/file', size)) ?? []).equals(bytes),
      ).toBe(true);
    }
    expect(await sh('cd /work/made; stat -c %a on on/the/way/file; ls -A on/the/way')).toBe(
      '755\n640\nfile\n',
    );
  });

  test('20 at once', async () => {
    const contents = Array.from({ length: 20 }, () => randomBytes(300_000));
    await Promise.all(contents.map((bytes, n) => channel.writeFile(`/work/many/${n}`, bytes)));
    const back = await Promise.all(contents.map((_, n) => channel.readFile(`/work/many/${n}`, 300_000)));
    expect(back.every((bytes, n) => Buffer.from(bytes ?? []).equals(contents[n] ?? Buffer.alloc(1)))).toBe(
      true,
    );
  });

  test('that are missing are undefined', async () => {
    for (const missing of ['/work/none', '/work/none/below', '/etc/passwd/below'])
      expect(await channel.readFile(missing, 10)).toBeUndefined();
  });

  test('of the kernel have a size of 0 and contents all the same', async () => {
    expect(Buffer.from((await channel.readFile('/proc/uptime', 100)) ?? []).toString()).toMatch(
      /^[\d.]+ [\d.]+\n$/,
    );
    await expect(channel.readFile('/proc/cpuinfo', 10)).rejects.toThrow('more than was asked for');
  });

  test.each([
    ['a link', 'ln -s /etc/passwd hostile', 'hostile', 'symbolic links'],
    ['a link on the way', 'ln -s /etc hostile', 'hostile/passwd', 'symbolic links'],
    ['a pipe', 'mkfifo hostile', 'hostile', 'not a regular file'],
    ['a directory', 'mkdir hostile', 'hostile', 'not a regular file'],
    ['a device', 'mknod hostile c 1 5', 'hostile', 'Permission denied|not a regular file'],
    ['a sparse file of 8 GB', 'truncate -s 8G hostile', 'hostile', 'more than 1000 bytes'],
    ['a file that is too large', 'truncate -s 1001 hostile', 'hostile', 'more than 1000 bytes'],
  ])('%s is not read', async (_what, make, file, message) => {
    await sh(`rm -rf /work/h; mkdir /work/h; cd /work/h; ${make}`);
    await expect(channel.readFile(`/work/h/${file}`, 1000)).rejects.toThrow(new RegExp(message));
  });

  test('are not written through links either', async () => {
    await sh(
      'rm -rf /work/h; mkdir /work/h; cd /work/h; ln -s /etc dir; ln -s /etc/passwd file; echo old >/etc/target',
    );
    await expect(channel.writeFile('/work/h/dir/target', Buffer.from('new'))).rejects.toThrow(
      'symbolic links',
    );
    await channel.writeFile('/work/h/file', Buffer.from('new'));
    // The link was replaced, not followed.
    expect(await sh('cat /work/h/file /etc/target; head -c 4 /etc/passwd')).toBe('newold\nroot');
  });

  test('on a full drive fail with the reason and leave nothing', async () => {
    await expect(channel.writeFile('/work/full/large', randomBytes(80_000_000))).rejects.toThrow(
      'No space left',
    );
    expect(await sh('ls -A /work/full')).toBe('');
  });
});

describe('after a restore', () => {
  test('the clock, the random numbers and the identity are new', async () => {
    const before = await sh('cat /etc/machine-id');
    await channel.renew(new Date('2031-02-03T04:05:06.789Z'), randomBytes(64), []);
    expect(await sh('date -u +%Y-%m-%dT%H')).toBe('2031-02-03T04\n');
    const identity = await sh('cat /etc/machine-id');
    expect(identity).toMatch(/^[0-9a-f]{32}\n$/);
    expect(identity).not.toBe(before);
    await channel.renew(new Date(), randomBytes(64), []);
    expect(await sh('cat /etc/machine-id')).not.toBe(identity);
  });
});
