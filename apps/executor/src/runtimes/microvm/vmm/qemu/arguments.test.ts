import { expect, test } from 'vitest';
import { TooManyDrives, type VmSpec } from '../vmm.ts';
import { qemuArguments } from './arguments.ts';

const spec: VmSpec = {
  name: 'executor-7-1',
  directory: '/vm',
  uid: 1_900_000_001,
  accelerator: 'tcg',
  cpus: 2,
  memoryBytes: 512 * 1024 ** 2 + 1,
  kernelFile: 'kernel',
  initrdFile: 'initrd',
  kernelArguments: ['console=ttyS0', 'quiet'],
  drives: [
    { serial: 'root', file: 'root.squashfs', readOnly: true },
    { serial: 'work', file: 'work.ext4', readOnly: false },
  ],
  network: undefined,
};

function valuesOf(option: string, given: readonly string[]): string[] {
  return given.flatMap((argument, index) => (argument === option ? [given[index + 1] ?? ''] : []));
}

test('emulates a pc, confined, with what the guest expects', () => {
  const given = qemuArguments(spec);
  expect(valuesOf('-machine', given)[0]).toMatch(/^pc,/);
  expect(valuesOf('-accel', given)[0]).toMatch(/^tcg,/);
  expect(valuesOf('-sandbox', given)).toEqual([
    'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny',
  ]);
  expect(valuesOf('-m', given)).toEqual(['513M']);
  expect(valuesOf('-append', given)).toEqual(['console=ttyS0 quiet']);
  expect(valuesOf('-netdev', given)).toEqual([]);
  expect(valuesOf('-device', given)).toContain(
    'virtserialport,bus=serial0.0,chardev=control,name=kiln.control',
  );
  expect(given).toContain('-nodefaults');
});

test('gives each drive its serial, and images to read only', () => {
  const given = qemuArguments(spec);
  const blocks = valuesOf('-blockdev', given).map((text) => JSON.parse(text));
  expect(blocks.map((block) => [block['read-only'], block.file['read-only'], block.file.filename])).toEqual([
    [true, true, 'root.squashfs'],
    [false, false, 'work.ext4'],
  ]);
  const disks = valuesOf('-device', given).filter((text) => text.startsWith('{'));
  expect(disks.map((text) => JSON.parse(text).serial)).toEqual(['root', 'work']);
});

test('uses the processor itself under KVM, and a tap where there is one', () => {
  const given = qemuArguments({
    ...spec,
    accelerator: 'kvm',
    network: {
      tap: 'tap0',
      mac: '02:00:00:00:00:01',
      bandwidth: { ingress: 0, egress: 0 },
    },
  });
  expect(valuesOf('-accel', given)).toEqual(['kvm']);
  expect(valuesOf('-netdev', given)).toEqual(['tap,id=net0,ifname=tap0,script=no,downscript=no']);
});

test('goes on from a snapshot with drives in the places that the saved machine had', () => {
  const places = [
    { serial: 'root', readOnly: true },
    { serial: 'scratch', readOnly: false },
    { serial: 'work', readOnly: false },
  ];
  const late = { serial: 'image0', file: 'image0.squashfs', readOnly: true };
  const going: VmSpec = { ...spec, drives: [...spec.drives, late], snapshot: { path: '/s', places } };
  const [root, ...emptyPlaces] = places;
  const saved = qemuArguments({ ...spec, drives: spec.drives.slice(0, 1), emptyPlaces });
  const given = qemuArguments(going);
  // All but what is below the drives.
  const machine = (all: readonly string[]) => all.filter((text) => !text.includes('node-name'));
  expect(machine(given)).toEqual([...machine(saved), '-incoming', 'fd:4']);
  const drivers = valuesOf('-blockdev', given).map((text) => JSON.parse(text));
  expect(drivers.map((drive) => [drive['node-name'], drive.file?.filename])).toEqual([
    [`node-${root?.serial}`, 'root.squashfs'],
    ['node-scratch', undefined],
    ['node-work', 'work.ext4'],
  ]);
});

test('refuses more drives than its bus has slots', () => {
  const drives = Array.from({ length: 28 }, (_, index) => ({
    serial: `d${index}`,
    file: 'f',
    readOnly: true,
  }));
  expect(valuesOf('-blockdev', qemuArguments({ ...spec, drives: drives.slice(1) }))).toHaveLength(27);
  expect(() => qemuArguments({ ...spec, drives })).toThrow(TooManyDrives);
});

test('refuses names that would become further options', () => {
  for (const serial of ['a,readonly=off', 'x'.repeat(21), ''])
    expect(() => qemuArguments({ ...spec, drives: [{ serial, file: 'f', readOnly: true }] })).toThrow(
      'cannot name a device',
    );
});
