import { posix } from 'node:path';
import { formatByteSize } from '@kiln/protocol';
import { SandboxError, type SandboxLimits, type SandboxStep } from '../runtime.ts';
import { labelsOf, type SandboxNames } from './names.ts';

/**
 * What root in a step keeps. Package managers need to change owners and modes of any file (CHOWN, DAC_OVERRIDE, FOWNER, FSETID), to
 * drop to their download user (SETUID, SETGID), to unpack files with capabilities (SETFCAP: rpm fails without), to stop
 * services of other users (KILL); test servers listen on low ports (NET_BIND_SERVICE). Left out of Docker's default set:
 * NET_RAW (forged packets; `ping` works without), MKNOD, SYS_CHROOT, SETPCAP, AUDIT_WRITE.
 */
const capabilities = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'NET_BIND_SERVICE',
  'SETFCAP',
  'SETGID',
  'SETUID',
] as const;

/** Docker's 64 MB is too small for browsers; counts as memory of the step. */
const sharedMemoryBytes = 256 * 1024 * 1024;
const workspaceTarget = '/data';

export interface ContainerSurroundings {
  names: SandboxNames;
  /** Host path as the daemon sees it. */
  workspaceSource: string;
  /** `none`, or the name of the job's network. */
  network: string;
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

/** The kernel's limit for one variable with its name; a longer one keeps every program from starting. */
const maxVariableBytes = 128 * 1024 - 1;
/** A quarter of the usual stack of 8 MiB is all that a program's environment and arguments may take; a part is for arguments. */
const maxEnvironmentBytes = (2 * 1024 - 64) * 1024;
/** Each variable ends with a zero byte and has a pointer to it. */
const bytesPerVariable = 9;

function checkEnvironment(env: readonly string[]): void {
  const tooLong = env.find((variable) => Buffer.byteLength(variable) > maxVariableBytes);
  if (tooLong !== undefined)
    throw new SandboxError(
      `environment variable ${tooLong.split('=', 1)[0]} holds more than the 128 KiB that Linux allows: pass it in a file`,
      { infrastructure: false },
    );
  const bytes = env.reduce((sum, variable) => sum + Buffer.byteLength(variable) + bytesPerVariable, 0);
  if (bytes > maxEnvironmentBytes)
    throw new SandboxError(
      `the environment variables of this step are too long together (${formatByteSize(bytes)}; Linux allows programs 2 MiB): pass some in files`,
      { infrastructure: false },
    );
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

function directoryInContainer(step: SandboxStep): string {
  return belowWorkspace(step.dir, 'the working directory');
}

function scriptInContainer(step: SandboxStep): string {
  return belowWorkspace(step.scriptPath, 'the script');
}

function belowWorkspace(path: string, what: string): string {
  const joined = posix.join(workspaceTarget, path);
  if (
    joined.includes('\0') ||
    (joined !== workspaceTarget &&
      joined !== `${workspaceTarget}/` &&
      !joined.startsWith(`${workspaceTarget}/`))
  )
    throw new SandboxError(`${what} ${JSON.stringify(path)} is outside the workspace`, {
      infrastructure: false,
    });
  return joined.length > workspaceTarget.length ? joined.replace(/\/$/, '') : joined;
}
