import { type CpioEntry, cpioArchive } from './cpio.ts';
import { type KernelModule, withDependencies } from './kernel-modules.ts';

// What is loaded before the root drive can be mounted, and what the guest needs afterwards. virtio_pci serves QEMU;
// virtio_mmio and vsock are there for VMMs without PCI.
const alwaysLoaded = [
  'virtio_pci',
  'virtio_blk',
  'squashfs',
  'overlay',
  'virtio_console',
  'virtio_net',
  'virtio_rng',
];
const loadedWithoutPci = ['virtio_mmio', 'vmw_vsock_virtio_transport'];
export const initramfsModules: readonly string[] = [...alwaysLoaded, ...loadedWithoutPci];

export interface InitramfsParts {
  /** Statically linked. */
  busybox: Uint8Array;
  init: string;
  modules: readonly KernelModule[];
}

/** Not compressed: unpacking costs an emulated CPU more than reading. @throws GuestBuildError when the kernel lacks a module */
export function initramfs({ busybox, init, modules }: InitramfsParts): Buffer {
  const always = withDependencies(modules, alwaysLoaded);
  const withoutPci = withDependencies(modules, loadedWithoutPci).filter((one) => !always.includes(one));
  const names = (list: readonly KernelModule[]) => Buffer.from(list.map(({ name }) => `${name}\n`).join(''));
  const directories = ['bin', 'dev', 'proc', 'sys', 'lower', 'upper', 'root', 'modules'];
  const entries: CpioEntry[] = [
    ...directories.map((path) => ({ path, type: 'directory' as const })),
    { path: 'dev/console', type: 'device', mode: 0o600, major: 5, minor: 1 },
    { path: 'bin/busybox', type: 'file', mode: 0o755, bytes: busybox },
    { path: 'init', type: 'file', mode: 0o755, bytes: Buffer.from(init) },
    { path: 'modules/order', type: 'file', mode: 0o644, bytes: names(always) },
    { path: 'modules/order-without-pci', type: 'file', mode: 0o644, bytes: names(withoutPci) },
    ...[...always, ...withoutPci].map(({ name, bytes }) => ({
      path: `modules/${name}`,
      type: 'file' as const,
      mode: 0o644,
      bytes,
    })),
  ];
  return cpioArchive(entries);
}
