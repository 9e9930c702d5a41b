import { basename } from 'node:path';
import type { SandboxStep } from '../../runtime.ts';
import {
  capabilities,
  directoryInContainer,
  scriptInContainer,
  sharedMemoryBytes,
  workspaceTarget,
} from '../../step/index.ts';
import { seccompProfile } from './seccomp.ts';

/** Where things are in the guest. */
export const guestPaths = {
  workspace: '/work',
  scratch: '/run/scratch',
  /** In memory: what the host writes for steps. */
  steps: '/run/kiln/steps',
  images: '/run/kiln/images',
  init: '/usr/bin/tini-static',
  cgroups: '/sys/fs/cgroup/job',
} as const;

export interface StepPlace {
  /** Of the step within its job, from 1. */
  number: number;
  /** Holds the container's description and what it is given from outside. */
  bundle: string;
  /** What went wrong before the step ran. */
  log: string;
  /** Upper layer and mount point of its file system. */
  layer: string;
  /** In the guest's control groups. */
  cgroup: string;
  /** crun's name for it. */
  id: string;
}

export function stepPlace(number: number): StepPlace {
  return {
    number,
    bundle: `${guestPaths.steps}/${number}`,
    log: `${guestPaths.steps}/${number}.log`,
    layer: `${guestPaths.scratch}/steps/${number}`,
    cgroup: `${guestPaths.cgroups}/${number}`,
    id: `step-${number}`,
  };
}

export interface ImageFacts {
  env: readonly string[];
  user: { uid: number; gid: number; additionalGids: readonly number[] };
}

export interface StepLimits {
  /** 0: no limit. */
  memoryBytes: number;
  maxProcesses: number;
}

const defaultPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** The container of a step as crun takes it (OCI runtime specification). */
export function containerConfig(step: SandboxStep, image: ImageFacts, limits: StepLimits, place: StepPlace) {
  const { user } = image;
  const kept = capabilities.map((name) => `CAP_${name}`);
  return {
    ociVersion: '1.0.2',
    hostname: 'kiln',
    root: { path: `${place.layer}/root`, readonly: false },
    process: {
      terminal: false,
      user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
      args: [`/dev/${basename(guestPaths.init)}`, '--', '/bin/sh', scriptInContainer(step)],
      env: environment([defaultPath, `HOME=${user.uid === 0 ? '/root' : '/'}`, ...image.env, ...step.env]),
      cwd: directoryInContainer(step),
      capabilities: { bounding: kept, effective: kept, permitted: kept, inheritable: [], ambient: [] },
      rlimits: [{ type: 'RLIMIT_CORE', hard: 0, soft: 0 }],
      noNewPrivileges: true,
    },
    mounts: [...kernelMounts, ...givenMounts(place)],
    linux: {
      cgroupsPath: `${place.cgroup.replace('/sys/fs/cgroup', '')}/container`,
      // Not the network: the VM's is the job's own.
      namespaces: ['pid', 'ipc', 'uts', 'mount', 'cgroup'].map((type) => ({ type })),
      resources: {
        pids: { limit: limits.maxProcesses },
        ...(limits.memoryBytes > 0
          ? { memory: { limit: limits.memoryBytes, swap: limits.memoryBytes } }
          : {}),
      },
      seccomp: seccompProfile,
      maskedPaths,
      readonlyPaths,
    },
  };
}

/** The last of several values of one variable wins. */
function environment(variables: readonly string[]): string[] {
  return [...new Map(variables.map((variable) => [variable.split('=', 1)[0], variable])).values()];
}

const kernelMounts = [
  { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
  {
    destination: '/dev',
    type: 'tmpfs',
    source: 'tmpfs',
    options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
  },
  {
    destination: '/dev/pts',
    type: 'devpts',
    source: 'devpts',
    options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
  },
  {
    destination: '/dev/shm',
    type: 'tmpfs',
    source: 'shm',
    options: ['nosuid', 'noexec', 'nodev', 'mode=1777', `size=${sharedMemoryBytes}`],
  },
  { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
  { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
  {
    destination: '/sys/fs/cgroup',
    type: 'cgroup',
    source: 'cgroup',
    options: ['nosuid', 'noexec', 'nodev', 'ro'],
  },
];

function givenMounts(place: StepPlace) {
  const bind = (source: string, destination: string, access: 'ro' | 'rw') => ({
    destination,
    type: 'bind',
    source,
    options: ['bind', 'nosuid', 'nodev', access],
  });
  return [
    bind(guestPaths.workspace, workspaceTarget, 'rw'),
    // Below /dev, which is in memory: nothing of it appears in the step's file system.
    bind(guestPaths.init, `/dev/${basename(guestPaths.init)}`, 'ro'),
    ...['resolv.conf', 'hosts', 'hostname'].map((name) =>
      bind(`${place.bundle}/${name}`, `/etc/${name}`, 'rw'),
    ),
  ];
}

const maskedPaths = [
  ...['acpi', 'asound', 'interrupts', 'kcore', 'keys', 'latency_stats', 'sched_debug', 'scsi'].map(
    (name) => `/proc/${name}`,
  ),
  ...['timer_list', 'timer_stats'].map((name) => `/proc/${name}`),
  ...['/sys/firmware', '/sys/devices/virtual/powercap', '/sys/kernel/debug', '/sys/kernel/security'],
];
const readonlyPaths = ['bus', 'fs', 'irq', 'sys', 'sysrq-trigger'].map((name) => `/proc/${name}`);
