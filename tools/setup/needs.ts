import { access, constants, readFile } from 'node:fs/promises';
import { request } from 'node:http';
import path from 'node:path';

/** What Kiln may need from the machine, beside Node and npm packages. */
export const needNames = [
  'git',
  'docker',
  'nftables',
  'conntrack',
  'busybox',
  'qemu',
  'iproute',
  'ext4',
  'squashfs',
] as const;
/** What the tests need besides. */
export const testNeedNames = [...needNames, 'registry'] as const;
export type NeedName = (typeof testNeedNames)[number];

export interface Need {
  /** What it is for, in a sentence that starts with its name. */
  why: string;
  /** Packages that have it, by package manager. */
  packages: Readonly<Record<'apt' | 'dnf' | 'apk' | 'pacman' | 'zypper', string>>;
  present(env: NodeJS.ProcessEnv): Promise<boolean>;
}

export const needs: Readonly<Record<NeedName, Need>> = {
  git: {
    why: 'git: clones repositories',
    packages: { apt: 'git', dnf: 'git', apk: 'git', pacman: 'git', zypper: 'git' },
    present: (env) => onPath('git', env).then(Boolean),
  },
  docker: {
    why: 'Docker Engine: runs steps in containers',
    packages: { apt: 'docker.io', dnf: 'moby-engine', apk: 'docker', pacman: 'docker', zypper: 'docker' },
    // A daemon that answers is enough, wherever it came from; so is one that can be started.
    present: async (env) => (await daemonAnswers(env)) || (await onPath('dockerd', env)) !== undefined,
  },
  nftables: {
    why: 'nftables: keeps the containers of jobs out of private networks',
    packages: { apt: 'nftables', dnf: 'nftables', apk: 'nftables', pacman: 'nftables', zypper: 'nftables' },
    present: (env) => onPath('nft', env).then(Boolean),
  },
  conntrack: {
    why: 'conntrack: has the kernel forget the connections of jobs that are over',
    packages: {
      apt: 'conntrack',
      dnf: 'conntrack-tools',
      apk: 'conntrack-tools',
      pacman: 'conntrack-tools',
      zypper: 'conntrack-tools',
    },
    present: (env) => onPath('conntrack', env).then(Boolean),
  },
  busybox: {
    why: 'busybox-static: the contents of the images, so that no registry is needed',
    packages: {
      apt: 'busybox-static',
      dnf: 'busybox',
      apk: 'busybox-static',
      pacman: 'busybox',
      zypper: 'busybox-static',
    },
    present: staticBusyboxPresent,
  },
  qemu: {
    why: 'QEMU: runs jobs in microVMs',
    packages: {
      apt: 'qemu-system-x86',
      dnf: 'qemu-system-x86-core',
      apk: 'qemu-system-x86_64',
      pacman: 'qemu-system-x86',
      zypper: 'qemu-x86',
    },
    present: (env) => onPath('qemu-system-x86_64', env).then(Boolean),
  },
  iproute: {
    why: 'iproute2: makes the networks of microVMs',
    packages: {
      apt: 'iproute2',
      dnf: 'iproute-tc',
      apk: 'iproute2',
      pacman: 'iproute2',
      zypper: 'iproute2',
    },
    // Both: busybox has an `ip` of its own, which knows less.
    present: async (env) =>
      (await onPath('ip', env)) !== undefined && (await onPath('tc', env)) !== undefined,
  },
  ext4: {
    why: 'e2fsprogs: makes the drives of microVMs',
    packages: {
      apt: 'e2fsprogs',
      dnf: 'e2fsprogs',
      apk: 'e2fsprogs',
      pacman: 'e2fsprogs',
      zypper: 'e2fsprogs',
    },
    present: (env) => onPath('mkfs.ext4', env).then(Boolean),
  },
  squashfs: {
    why: 'squashfs-tools: makes the images of microVMs',
    packages: {
      apt: 'squashfs-tools',
      dnf: 'squashfs-tools',
      apk: 'squashfs-tools',
      pacman: 'squashfs-tools',
      zypper: 'squashfs',
    },
    present: (env) => onPath('mksquashfs', env).then(Boolean),
  },
  registry: {
    why: 'docker-registry: the registry that tests pull images from',
    packages: {
      apt: 'docker-registry',
      dnf: 'docker-distribution',
      apk: 'docker-registry',
      pacman: 'distribution',
      zypper: 'distribution-registry',
    },
    present: (env) => onPath('docker-registry', env).then(Boolean),
  },
};

/** Programs of the administrator are looked for in sbin too, which an ordinary PATH lacks. */
function searchPath(env: NodeJS.ProcessEnv): string[] {
  return [...(env['PATH'] ?? '').split(path.delimiter).filter(path.isAbsolute), '/usr/sbin', '/sbin'];
}

export async function onPath(program: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  for (const directory of searchPath(env)) {
    const file = path.join(directory, program);
    const found = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return file;
  }
  return undefined;
}

/** The dynamically linked one is no use in an image that holds nothing else. */
async function staticBusyboxPresent(env: NodeJS.ProcessEnv): Promise<boolean> {
  const file = await onPath('busybox', env);
  return file !== undefined && !(await readFile(file)).includes('/ld-');
}

async function daemonAnswers(env: NodeJS.ProcessEnv): Promise<boolean> {
  const host = env['DOCKER_HOST'] || 'unix:///var/run/docker.sock';
  if (!host.startsWith('unix://')) return false;
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const ping = request({ socketPath: host.slice('unix://'.length), path: '/_ping', timeout: 5000 });
  ping.on('response', (response) => {
    response.resume();
    resolve(response.statusCode === 200);
  });
  ping.on('timeout', () => ping.destroy(new Error('the daemon does not answer')));
  ping.on('error', () => resolve(false));
  ping.end();
  return promise;
}
