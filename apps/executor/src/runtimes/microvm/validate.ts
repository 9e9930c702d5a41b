import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { checkFirewall, connectionsFinding, NftError } from '../network/index.ts';
import type { Finding } from '../runtime.ts';
import { cgroupFinding } from './cgroup.ts';
import { type VmmSetting, vmmFindings } from './choose-vmm.ts';
import type { Guest } from './guest/index.ts';
import { findFirecracker } from './vmm/index.ts';

const directories = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];
const programs = [
  { name: 'mkfs.ext4', packages: 'e2fsprogs' },
  { name: 'setpriv', packages: 'util-linux' },
  { name: 'unshare', packages: 'util-linux' },
  { name: 'nsenter', packages: 'util-linux' },
  { name: 'ip', packages: 'iproute2' },
  { name: 'tc', packages: 'iproute2' },
] as const;

/** What VMs need of this machine, before any is started. */
export async function machineFindings(
  guest: Guest | undefined,
  setting: VmmSetting,
  networkNamespace: string | undefined,
): Promise<Finding[]> {
  return [
    ...platformFindings(process.platform, process.arch, process.getuid?.()),
    ...(await vmmFindings(setting, findFirecracker)),
    await programsFinding(),
    await cgroupFinding(),
    await firewallFinding(networkNamespace),
    await connectionsFinding(),
    guestFinding(guest),
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
      check: 'data',
      severity: 'error',
      message: `EXECUTOR_DATA_DIR is ${tooMany} bytes too long for the sockets of VMs, such as ${socketPath}`,
      fix: 'Give EXECUTOR_DATA_DIR a shorter path.',
    },
  ];
}

export const noGuest: Finding = {
  check: 'guest',
  severity: 'error',
  message: 'no guest for microVMs is installed: kernel and root image',
  fix: 'Run "executor install all" once, as the user that runs the executor; or set EXECUTOR_USE_FIRECRACKER=false to run jobs in Docker containers.',
};

export function platformFindings(platform: string, architecture: string, uid: number | undefined): Finding[] {
  if (platform !== 'linux' || architecture !== 'x64')
    return [
      {
        check: 'machine',
        severity: 'error',
        message: `microVMs need Linux on x86-64, and this is ${platform} on ${architecture}`,
        fix: 'Set EXECUTOR_USE_FIRECRACKER=false to run jobs in Docker containers.',
      },
    ];
  if (uid === 0)
    return [
      { check: 'machine', severity: 'ok', message: `${platform} on ${architecture}, as root`, fix: '' },
    ];
  return [
    {
      check: 'machine',
      severity: 'error',
      message: 'microVMs need root: each VM gets a user, a network and a control group of its own',
      fix: 'Run the executor as root, or set EXECUTOR_USE_FIRECRACKER=false to run jobs in Docker containers.',
    },
  ];
}

function guestFinding(guest: Guest | undefined): Finding {
  if (guest === undefined) return noGuest;
  const { kernelVersion, digest } = guest;
  return {
    check: 'guest',
    severity: 'ok',
    message: `kernel ${kernelVersion} and root image are installed (${digest.slice(0, 12)})`,
    fix: '',
  };
}

async function programsFinding(): Promise<Finding> {
  const found = await Promise.all(programs.map(({ name }) => isProgram(name)));
  const missing = programs.filter((_, index) => !found[index]);
  if (missing.length === 0)
    return {
      check: 'programs',
      severity: 'ok',
      message: `${programs.map(({ name }) => name).join(', ')} are there`,
      fix: '',
    };
  const packages = new Set(missing.map((program) => program.packages));
  return {
    check: 'programs',
    severity: 'error',
    message: `not installed: ${missing.map(({ name }) => name).join(', ')}`,
    fix: `Install what is missing (Debian: apt-get install ${[...packages].join(' ')}).`,
  };
}

async function isProgram(name: string): Promise<boolean> {
  const tries = directories.map((directory) => access(join(directory, name), constants.X_OK));
  return (await Promise.allSettled(tries)).some(({ status }) => status === 'fulfilled');
}

async function firewallFinding(networkNamespace: string | undefined): Promise<Finding> {
  try {
    await checkFirewall(networkNamespace);
    return { check: 'nftables', severity: 'ok', message: 'firewall rules can be set', fix: '' };
  } catch (error) {
    const isMissing = error instanceof NftError && error.missing;
    return {
      check: 'nftables',
      severity: 'error',
      message: `the firewall rules of VMs' networks cannot be set, so jobs with network "public" will fail: ${error instanceof Error ? error.message : String(error)}`,
      fix: isMissing
        ? 'Install nftables (Debian: apt-get install nftables).'
        : 'Run the executor as root, or with CAP_NET_ADMIN.',
    };
  }
}
