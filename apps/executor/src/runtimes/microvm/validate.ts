import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { checkFirewall, NftError } from '../network/index.ts';
import type { Finding } from '../runtime.ts';
import type { Guest } from './guest/index.ts';
import { qemuVersion } from './vmm/index.ts';

const directories = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];
const programs = [
  { name: 'mkfs.ext4', packages: 'e2fsprogs' },
  { name: 'setpriv', packages: 'util-linux' },
  { name: 'unshare', packages: 'util-linux' },
  { name: 'nsenter', packages: 'util-linux' },
  { name: 'ip', packages: 'iproute2' },
  { name: 'tc', packages: 'iproute2' },
] as const;

/** What would keep this machine from running VMs, before any is started. */
export async function machineFindings(
  guest: Guest | undefined,
  networkNamespace: string | undefined,
): Promise<Finding[]> {
  const missing = await missingPrograms();
  return [
    ...platformFindings(process.platform, process.arch, process.getuid?.()),
    ...((await qemuVersion()) === undefined
      ? [
          {
            severity: 'error' as const,
            message: 'QEMU (qemu-system-x86_64) is not installed or does not start',
            fix: 'Install it (Debian: apt-get install qemu-system-x86).',
          },
        ]
      : []),
    ...missing.map(({ name, packages }) => ({
      severity: 'error' as const,
      message: `the program ${name} is not installed`,
      fix: `Install it (Debian: apt-get install ${packages}).`,
    })),
    ...(await firewallFindings(networkNamespace)),
    ...(guest === undefined ? [noGuest] : []),
  ];
}

/** Linux takes no longer path for a socket, without the byte that ends it. */
const maxSocketPathBytes = 107;

/** @param socketPath of any VM: all are of one length */
export function directoryFindings(socketPath: string): Finding[] {
  const tooMany = Buffer.byteLength(socketPath) - maxSocketPathBytes;
  if (tooMany <= 0) return [];
  return [
    {
      severity: 'error',
      message: `EXECUTOR_DATA_DIR is ${tooMany} bytes too long for the sockets of VMs, such as ${socketPath}`,
      fix: 'Give EXECUTOR_DATA_DIR a shorter path.',
    },
  ];
}

export const noGuest: Finding = {
  severity: 'error',
  message: 'no guest for microVMs is installed: kernel and root image',
  fix: 'Run "executor install all" once, as the user that runs the executor; or set EXECUTOR_USE_FIRECRACKER=false to run jobs in Docker containers.',
};

export function platformFindings(platform: string, architecture: string, uid: number | undefined): Finding[] {
  if (platform !== 'linux' || architecture !== 'x64')
    return [
      {
        severity: 'error',
        message: `microVMs need Linux on x86-64, and this is ${platform} on ${architecture}`,
        fix: 'Set EXECUTOR_USE_FIRECRACKER=false to run jobs in Docker containers.',
      },
    ];
  if (uid === 0) return [];
  return [
    {
      severity: 'error',
      message: 'microVMs need root: each VM gets a user, a network and a control group of its own',
      fix: 'Run the executor as root, or set EXECUTOR_USE_FIRECRACKER=false to run jobs in Docker containers.',
    },
  ];
}

async function missingPrograms(): Promise<(typeof programs)[number][]> {
  const found = await Promise.all(programs.map(({ name }) => isProgram(name)));
  return programs.filter((_, index) => !found[index]);
}

async function isProgram(name: string): Promise<boolean> {
  const tries = directories.map((directory) => access(join(directory, name), constants.X_OK));
  return (await Promise.allSettled(tries)).some(({ status }) => status === 'fulfilled');
}

async function firewallFindings(networkNamespace: string | undefined): Promise<Finding[]> {
  try {
    await checkFirewall(networkNamespace);
    return [];
  } catch (error) {
    const isMissing = error instanceof NftError && error.missing;
    return [
      {
        severity: 'error',
        message: `the firewall rules of VMs' networks cannot be set, so jobs with network "public" will fail: ${error instanceof Error ? error.message : String(error)}`,
        fix: isMissing
          ? 'Install nftables (Debian: apt-get install nftables).'
          : 'Run the executor as root, or with CAP_NET_ADMIN.',
      },
    ];
  }
}
