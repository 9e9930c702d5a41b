import type { SandboxLimits, SandboxStep } from '../runtime.ts';
import {
  capabilities,
  checkEnvironment,
  directoryInContainer,
  scriptInContainer,
  sharedMemoryBytes,
  workspaceTarget,
} from '../step/index.ts';
import { labelsOf, type SandboxNames } from './names.ts';

export interface ContainerSurroundings {
  names: SandboxNames;
  /** Host path as the daemon sees it. */
  workspaceSource: string;
  /** `none`, or the name of the job's network. */
  network: string;
  /** Whom Docker's own resolver in the container asks; empty: as the daemon chooses. */
  nameServers: readonly string[];
  /** `name:address` lines for the container's hosts file. */
  extraHosts: readonly string[];
  limits: SandboxLimits;
  /** Processes and threads of one step. */
  maxProcesses: number;
  /** Below the control group hierarchies' root; undefined: the daemon's own choice. */
  cgroupParent: string | undefined;
}

/** Body of the Engine API's container creation. */
export function containerSpec(step: SandboxStep, image: string, around: ContainerSurroundings) {
  const { limits } = around;
  checkEnvironment(step.env);
  return {
    Image: image,
    Entrypoint: ['/bin/sh'],
    Cmd: [scriptInContainer(step)],
    WorkingDir: directoryInContainer(step),
    Env: step.env,
    AttachStdin: false,
    AttachStdout: true,
    AttachStderr: true,
    OpenStdin: false,
    Tty: false,
    Labels: labelsOf(around.names),
    // A health check of the image would run commands beside the step's.
    Healthcheck: { Test: ['NONE'] },
    HostConfig: {
      Mounts: [
        {
          Type: 'bind',
          Source: around.workspaceSource,
          Target: workspaceTarget,
          BindOptions: { Propagation: 'rprivate' },
        },
      ],
      NetworkMode: around.network,
      Dns: around.nameServers,
      ExtraHosts: around.extraHosts,
      CapDrop: ['ALL'],
      CapAdd: capabilities,
      SecurityOpt: ['no-new-privileges'],
      Privileged: false,
      PidsLimit: around.maxProcesses,
      ...(limits.memoryBytes > 0 ? { Memory: limits.memoryBytes, MemorySwap: limits.memoryBytes } : {}),
      ...(limits.numCPUs > 0 ? { NanoCpus: Math.round(limits.numCPUs * 1e9) } : {}),
      Init: true,
      ShmSize: sharedMemoryBytes,
      // Open files stay as the daemon has them: a container cannot be given more than that.
      Ulimits: [{ Name: 'core', Soft: 0, Hard: 0 }],
      IpcMode: 'private',
      // Output goes to the job's log; a second copy on this machine would be unredacted and unbounded.
      LogConfig: { Type: 'none' },
      RestartPolicy: { Name: 'no' },
      AutoRemove: false,
      ...(around.cgroupParent === undefined ? {} : { CgroupParent: around.cgroupParent }),
    },
  };
}

/** The equivalent `docker run`, for people who want to try a step by hand. Variables by name only. */
export function equivalentCommand(step: SandboxStep, image: string, around: ContainerSurroundings): string[] {
  const { limits } = around;
  return [
    'docker',
    'run',
    '--rm',
    '--init',
    '--cap-drop=ALL',
    ...capabilities.map((capability) => `--cap-add=${capability}`),
    '--security-opt=no-new-privileges',
    `--pids-limit=${around.maxProcesses}`,
    ...(limits.numCPUs > 0 ? [`--cpus=${limits.numCPUs}`] : []),
    ...(limits.memoryBytes > 0
      ? [`--memory=${limits.memoryBytes}`, `--memory-swap=${limits.memoryBytes}`]
      : []),
    '--ulimit=core=0',
    `--shm-size=${sharedMemoryBytes}`,
    `--network=${around.network}`,
    ...around.nameServers.map((address) => `--dns=${address}`),
    ...around.extraHosts.map((host) => `--add-host=${host}`),
    '--mount',
    `type=bind,source=${around.workspaceSource},target=${workspaceTarget}`,
    '--workdir',
    directoryInContainer(step),
    ...step.env.flatMap((variable) => ['-e', variable.split('=', 1)[0] ?? '']),
    '--entrypoint=/bin/sh',
    image,
    scriptInContainer(step),
  ];
}
