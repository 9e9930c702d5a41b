import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { bootVm } from '../../apps/executor/src/runtimes/microvm/boot.ts';
import { vmNames } from '../../apps/executor/src/runtimes/microvm/names.ts';
import { connectApi } from '../../apps/executor/src/runtimes/microvm/vmm/firecracker/api.ts';
import {
  createFirecracker,
  type Drive,
  findFirecracker,
  type GatedProcess,
  type Vm,
  type VmSpec,
} from '../../apps/executor/src/runtimes/microvm/vmm/index.ts';
import {
  type Behaviour,
  installStandIns,
  jailerSeen,
  requestsSeen,
  writeBehaviour,
} from '../kit/firecracker/index.ts';

let base: string;
let programs: string;
let directory: string;
const open: GatedProcess[] = [];
const standIns: ChildProcess[] = [];

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'kiln-fc-'));
  programs = join(base, 'programs');
  directory = join(base, '0123456789ab');
  await mkdir(programs);
  await mkdir(directory);
  await installStandIns(programs);
  for (const [name, bytes] of [
    ['kernel', 10],
    ['initrd', 10],
    ['root.squashfs', 4096],
    ['work.ext4', 8192],
    ['image0.squashfs', 2048],
    ['late.squashfs', 1024],
  ] as const)
    await writeFile(join(directory, name), Buffer.alloc(bytes));
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((gated) => gated.cancel()));
  for (const child of standIns.splice(0)) {
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }
  await rm(base, { recursive: true, force: true });
});

const drives: readonly Drive[] = [
  { serial: 'root', file: 'root.squashfs', readOnly: true },
  { serial: 'work', file: 'work.ext4', readOnly: false },
  { serial: 'image0', file: 'image0.squashfs', readOnly: true },
];

function spec(more: Partial<VmSpec> = {}): VmSpec {
  return {
    name: 'executor-7-1-0123456789ab',
    directory,
    uid: 1_900_000_001,
    accelerator: 'kvm',
    cpus: 3,
    memoryBytes: 512 * 1024 ** 2 + 1,
    kernelFile: 'kernel',
    initrdFile: 'initrd',
    kernelArguments: ['console=ttyS0', 'quiet', '8250.nr_uarts=1'],
    drives,
    network: { tap: 'tap0', mac: '02:00:00:00:00:01', bandwidth: { ingress: 1000, egress: 0 } },
    ...more,
  };
}

async function driver(behaviour: Behaviour = {}) {
  writeBehaviour(programs, behaviour);
  const found = { firecracker: join(programs, 'firecracker'), jailer: join(programs, 'jailer') };
  return createFirecracker({ ...found, version: behaviour.version ?? '1.16.1' });
}

async function started(behaviour: Behaviour = {}, more: Partial<VmSpec> = {}): Promise<Vm> {
  const gated = await (await driver(behaviour)).prepare(spec(more), { survive: false });
  open.push(gated);
  return gated.go();
}

const asked = () => requestsSeen(programs).map(({ what }) => what);
const bodyOf = (what: string) => requestsSeen(programs).find((request) => request.what === what)?.body;

describe('a VM of Firecracker', () => {
  test('is told all that it is before it starts, in an order that Firecracker takes', async () => {
    await started();
    expect(asked()).toEqual([
      'PUT /machine-config',
      'PUT /boot-source',
      ...['root', 'work', 'image0', 'spare0', 'spare1', 'spare2', 'spare3'].map((id) => `PUT /drives/${id}`),
      'PUT /network-interfaces/net0',
      'PUT /vsock',
      'PUT /entropy',
      'PUT /serial',
      'PUT /actions',
    ]);
    // An even number; what is more than it may have, the control group holds back.
    expect(bodyOf('PUT /machine-config')).toMatchObject({ vcpu_count: 4, mem_size_mib: 513 });
    expect(bodyOf('PUT /drives/work')).toMatchObject({ is_read_only: false, path_on_host: '/work.ext4' });
    expect(bodyOf('PUT /drives/image0')).toMatchObject({ is_read_only: true });
    expect(bodyOf('PUT /network-interfaces/net0')).toEqual({
      iface_id: 'net0',
      guest_mac: '02:00:00:00:00:01',
      host_dev_name: 'tap0',
      rx_rate_limiter: { bandwidth: { size: 100, refill_time: 100 } },
    });
  });

  test('has its serial port off, and learns the order of its drives', async () => {
    const vm = await started();
    const { boot_args } = bodyOf('PUT /boot-source') as { boot_args: string };
    expect(boot_args.split(' ')).toEqual([
      'quiet',
      '8250.nr_uarts=0',
      'pci=off',
      'kiln.drives=root,work,image0,spare0,spare1,spare2,spare3',
    ]);
    expect(['root', 'work', 'image0', 'other'].map(vm.guestDevice)).toEqual(['vda', 'vdb', 'vdc', undefined]);
  });

  test('without a network has no interface, and an old Firecracker is not asked what it does not know', async () => {
    await started({ version: '1.15.1' }, { network: undefined, cpus: 1 });
    expect(asked()).not.toContain('PUT /network-interfaces/net0');
    expect(asked()).not.toContain('PUT /serial');
    expect(bodyOf('PUT /machine-config')).toMatchObject({ vcpu_count: 1 });
  });

  test('is jailed: a user, a root and namespaces of its own, and nothing of our environment', async () => {
    await started();
    const seen = jailerSeen(programs);
    expect(seen.arguments).toEqual([
      ...['--id', '0123456789ab', '--exec-file', join(programs, 'firecracker')],
      ...['--uid', '1900000001', '--gid', '1900000001', '--chroot-base-dir', directory],
      ...['--resource-limit', 'no-file=2048', '--resource-limit', 'fsize=8192'],
      ...['--', '--api-sock', '/api.sock'],
    ]);
    expect(Object.keys(seen.environment).filter((name) => !['PATH', 'LC_ALL', 'PWD'].includes(name))).toEqual(
      [],
    );
    // In a namespace of processes that begins with it.
    expect(seen.pid).toBeLessThan(10);
    expect(seen.networkNamespace).not.toBe(await readlink('/proc/self/ns/net'));
    expect(seen.ipcNamespace).not.toBe(await readlink('/proc/self/ns/ipc'));
  });

  test('gets an image later in place of a spare drive, as often as there are some', async () => {
    const vm = await started();
    await vm.attachDrive({ serial: 'late', file: 'late.squashfs', readOnly: true });
    expect(requestsSeen(programs).at(-1)).toEqual({
      what: 'PATCH /drives/spare0',
      body: { drive_id: 'spare0', path_on_host: '/late.squashfs' },
    });
    expect(vm.guestDevice('late')).toBe('vdd');
    for (const [index, serial] of ['b', 'c', 'd'].entries()) {
      await writeFile(join(directory, serial), Buffer.alloc(1024));
      await vm.attachDrive({ serial, file: serial, readOnly: true });
      expect(vm.guestDevice(serial)).toBe(`vd${'efg'[index]}`);
    }
    await writeFile(join(directory, 'e'), Buffer.alloc(1024));
    await expect(vm.attachDrive({ serial: 'e', file: 'e', readOnly: true })).rejects.toThrow(
      'EXECUTOR_VMM=qemu',
    );
  });

  test('looks again at a drive whose size has changed', async () => {
    const vm = await started();
    await vm.resizeDrive('work', 16_384);
    expect(requestsSeen(programs).at(-1)).toEqual({
      what: 'PATCH /drives/work',
      body: { drive_id: 'work', path_on_host: '/work.ext4' },
    });
    await expect(vm.resizeDrive('none', 1)).rejects.toThrow('no drive none');
  });
});

describe('what goes wrong is told, and leaves no process', () => {
  test.each([
    ['the jailer fails', { jailerFails: true }, /exit status 1.*Failed to create the jail/s],
    ['a request is refused', { refuses: 'PUT /vsock' }, /refused PUT \/vsock \(400\): made to refuse/],
    ['Firecracker ends', { endsAt: 'PUT /actions' }, /exit status 148.*thread panicked/s],
  ])('%s', async (_, behaviour, message) => {
    const gated = await (await driver(behaviour)).prepare(spec(), { survive: false });
    await expect(gated.go()).rejects.toThrow(message);
    await expectGone(gated.pid);
  });

  test('more drives than Firecracker takes', async () => {
    const many = Array.from({ length: 13 }, (_, index) => ({
      serial: `d${index}`,
      file: 'kernel',
      readOnly: true,
    }));
    await expect((await driver()).prepare(spec({ drives: many }), { survive: false })).rejects.toThrow(
      'Firecracker takes 12 drives and this job needs 13',
    );
  });

  test('no KVM', async () => {
    await expect((await driver()).prepare(spec({ accelerator: 'tcg' }), { survive: false })).rejects.toThrow(
      'needs KVM',
    );
  });

  test('it is not let go', async () => {
    const gated = await (await driver()).prepare(spec(), { survive: false });
    await gated.cancel();
    await expectGone(gated.pid);
    expect(() => requestsSeen(programs)).toThrow('ENOENT');
  });

  test('whoever holds the outer process holds all: its death ends Firecracker', async () => {
    const vm = await started();
    const inside = await firecrackerProcesses();
    expect(inside.length).toBeGreaterThan(0);
    process.kill(vm.pid, 'SIGKILL');
    await vm.ended;
    await expect.poll(firecrackerProcesses, { timeout: 20_000 }).toEqual([]);
  });
});

describe('its agent', () => {
  const names = () => ({
    ...vmNames({ executor: 'e', job: 7, attempt: 1 }, 'kiln', base),
    directory,
    sandbox: '0123456789ab',
  });

  async function boot(behaviour: Behaviour, signal: AbortSignal) {
    const notices: string[] = [];
    const booted = bootVm(
      {
        vmm: await driver(behaviour),
        names: names(),
        spec: spec(),
        network: undefined,
        survive: false,
        record: async () => undefined,
        notice: (line) => notices.push(line),
      },
      signal,
    );
    return { booted, notices };
  }

  test('is asked for by its port, again and again until it listens', async () => {
    const { booted } = await boot({ connectionsRefused: 3 }, AbortSignal.timeout(60_000));
    const { vm, channel } = await booted;
    await channel[Symbol.asyncDispose]();
    await vm.stop(0);
    await expect.poll(firecrackerProcesses, { timeout: 20_000 }).toEqual([]);
  });

  test('that never listens ends when the job does', async () => {
    const given = new AbortController();
    const { booted } = await boot({ agentIsMissing: true }, given.signal);
    const refused = expect(booted).rejects.toThrow('told to stop');
    await expect.poll(() => asked().includes('PUT /actions'), { timeout: 30_000 }).toBe(true);
    given.abort(new Error('told to stop'));
    await refused;
    await expect.poll(firecrackerProcesses, { timeout: 20_000 }).toEqual([]);
  });
});

describe('which Firecracker is used', () => {
  test.each([
    [{ version: '1.16.1' }, undefined],
    [{ version: '1.14.4' }, undefined],
    [{ version: '1.16.0' }, 'known holes'],
    [{ version: '1.13.1' }, 'known holes'],
    [{ version: '1.16.1', jailerVersion: '1.16.0' }, 'its jailer of 1.16.0'],
  ])('%o', async (behaviour, because) => {
    writeBehaviour(programs, behaviour);
    // Below /tmp everybody may write to a parent, which is a reason of its own, and the last that is looked at.
    const found = await findFirecracker([programs]);
    expect('because' in found ? found.because : '').toContain(
      because ?? 'others than root can write to /tmp',
    );
  });

  test('one that is not there is no more than that', async () => {
    expect(await findFirecracker([base])).toMatchObject({ missing: true });
    await rm(join(programs, 'jailer'));
    const found = await findFirecracker([programs]);
    expect(found).toMatchObject({
      because: expect.stringContaining("Firecracker's jailer is not installed"),
    });
    expect(found).not.toHaveProperty('missing');
  });
});

describe('the stand-in', () => {
  test.each([
    ['PUT', '/machine-config', { vcpu_count: 3, mem_size_mib: 1 }, 'body.vcpu_count: 3 is odd'],
    ['PUT', '/machine-config', { vcpu_count: 2 }, 'missing field mem_size_mib'],
    ['PUT', '/vsock', { guest_cid: 2, uds_path: 'x' }, 'guest_cid: 2 is not in'],
    ['PUT', '/entropy', { rate: 1 }, 'unknown field rate'],
    ['PUT', '/boot-source', { kernel_image_path: '/none' }, 'no such file'],
    ['PATCH', '/drives/root', { drive_id: 'root' }, 'only after the start'],
    ['PUT', '/actions', { action_type: 'InstanceStart' }, 'there is nothing to start'],
    ['PUT', '/balloon', {}, 'no route'],
  ] as const)('refuses %s %s %o', async (method, path, body, message) => {
    const socket = await standIn();
    const api = await connectApi(socket, new AbortController().signal);
    await expect(api.send({ method, path, body })).rejects.toThrow(message);
  });

  async function standIn(): Promise<string> {
    const child = spawn(join(programs, 'firecracker'), ['--api-sock', '/api.sock'], {
      cwd: directory,
      stdio: 'ignore',
    });
    standIns.push(child);
    return join(directory, 'api.sock');
  }
});

async function expectGone(pid: number): Promise<void> {
  await expect(readFile(`/proc/${pid}/stat`, 'utf8')).rejects.toThrow('ENOENT');
  await expect.poll(firecrackerProcesses, { timeout: 20_000 }).toEqual([]);
}

/** Processes of this test's own programs. */
async function firecrackerProcesses(): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '');
    if (command.includes(programs)) found.push(command.replaceAll('\0', ' '));
  }
  return found;
}
