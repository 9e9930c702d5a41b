import type { QueueName } from '@kiln/protocol';
import * as kinds from './kinds.ts';
import { defaulted, optional, required } from './variable.ts';

/**
 * Every setting of the executor. Names without "Kiln's own" and their defaults are the reference's, so that an existing
 * set-up keeps working.
 */
export const variables = {
  frontendUrl: required(kinds.httpUrl, {
    name: 'EXECUTOR_FRONTEND_URL',
    section: 'Instance',
    doc: 'Address of the instance, with its base path if it has one. `http://` only to this machine, unless `EXECUTOR_ALLOW_INSECURE` is set.',
  }),
  frontendPassword: optional(kinds.sharedSecret, {
    name: 'EXECUTOR_FRONTEND_PASSWORD',
    section: 'Instance',
    secret: true,
    doc: 'The shared secret: `executors.accessToken` of the instance. This or `EXECUTOR_FRONTEND_PASSWORD_FILE` is required.',
  }),
  frontendPasswordFile: optional(kinds.absolutePath, {
    name: 'EXECUTOR_FRONTEND_PASSWORD_FILE',
    section: 'Instance',
    doc: "Kiln's own. File that holds the shared secret, which keeps it out of the environment.",
  }),
  allowInsecure: defaulted(kinds.bool, {
    name: 'EXECUTOR_ALLOW_INSECURE',
    section: 'Instance',
    default: 'false',
    doc: "Kiln's own. Allows `http://` to another machine: the shared secret and all job secrets then cross the network in clear.",
  }),
  queueName: optional(kinds.queueName, {
    name: 'EXECUTOR_QUEUE_NAME',
    section: 'Queues and jobs',
    doc: 'The queue to serve: `batches`, `codeintel` or `jobs`. Exactly one of this and `EXECUTOR_QUEUE_NAMES`.',
  }),
  queueNames: optional(kinds.queueNameList, {
    name: 'EXECUTOR_QUEUE_NAMES',
    section: 'Queues and jobs',
    doc: 'Several queues to serve.',
  }),
  queuePollIntervalSeconds: defaulted(kinds.duration('positive'), {
    name: 'EXECUTOR_QUEUE_POLL_INTERVAL',
    section: 'Queues and jobs',
    default: '1s',
    doc: 'Wait between dequeues while there is nothing to do. An instance that offers long polling is not polled.',
  }),
  maximumNumJobs: defaulted(kinds.integer(1), {
    name: 'EXECUTOR_MAXIMUM_NUM_JOBS',
    section: 'Queues and jobs',
    default: '1',
    doc: 'Jobs at the same time.',
  }),
  maximumRuntimePerJobSeconds: defaulted(kinds.duration('zero allowed'), {
    name: 'EXECUTOR_MAXIMUM_RUNTIME_PER_JOB',
    section: 'Queues and jobs',
    default: '30m',
    doc: "Wall-clock limit of a job; `0` is no limit. A job's own shorter limit wins.",
  }),
  numTotalJobs: defaulted(kinds.integer(0), {
    name: 'EXECUTOR_NUM_TOTAL_JOBS',
    section: 'Queues and jobs',
    default: '0',
    doc: 'Exit with code 0 after this many jobs; `0` is no limit.',
  }),
  maxActiveTimeSeconds: defaulted(kinds.duration('zero allowed'), {
    name: 'EXECUTOR_MAX_ACTIVE_TIME',
    section: 'Queues and jobs',
    default: '0',
    doc: 'Take no more jobs after this time, finish those running and exit with code 0; `0` is no limit.',
  }),
  keepWorkspaces: defaulted(kinds.bool, {
    name: 'EXECUTOR_KEEP_WORKSPACES',
    section: 'Queues and jobs',
    default: 'false',
    doc: 'Keeps the workspace of every job, to look into; of a microVM, the disk as the steps left it. They fill the disk: remove them by hand.',
  }),
  allowHostSrc: defaulted(kinds.bool, {
    name: 'EXECUTOR_ALLOW_HOST_SRC',
    section: 'Queues and jobs',
    default: 'false',
    doc: "Kiln's own. Allows jobs with `src` steps (batch changes without native execution): `src` runs on this machine itself, outside any sandbox.",
  }),
  jobNumCpus: defaulted(kinds.integer(0), {
    name: 'EXECUTOR_JOB_NUM_CPUS',
    fallback: 'EXECUTOR_FIRECRACKER_NUM_CPUS',
    section: 'Resources',
    default: '4',
    doc: 'CPUs of a job; `0` is no limit.',
  }),
  jobMemoryBytes: defaulted(kinds.byteSize, {
    name: 'EXECUTOR_JOB_MEMORY',
    fallback: 'EXECUTOR_FIRECRACKER_MEMORY',
    section: 'Resources',
    default: '12G',
    doc: 'Memory of a job; `0` is no limit.',
  }),
  diskSpaceBytes: defaulted(kinds.byteSize, {
    name: 'EXECUTOR_FIRECRACKER_DISK_SPACE',
    section: 'Resources',
    default: '20G',
    doc: 'Disk of a job: its workspace, and what its steps write elsewhere. Applies to every runtime.',
  }),
  minFreeDiskBytes: defaulted(kinds.byteSize, {
    name: 'EXECUTOR_MIN_FREE_DISK',
    section: 'Resources',
    default: '2G',
    doc: "Kiln's own. Disk of this machine that jobs must leave free: below it no job is taken, and a step that crosses it is stopped.",
  }),
  useFirecracker: defaulted(kinds.bool, {
    name: 'EXECUTOR_USE_FIRECRACKER',
    section: 'MicroVM',
    default: {
      from: ({ platform, onKubernetes }) => String(platform === 'linux' && !onKubernetes),
      doc: '`true` on Linux outside Kubernetes',
    },
    doc: 'Jobs run in microVMs, each in one of its own; needs root and `executor install all`. `false`: in Docker containers.',
  }),
  vmm: defaulted(kinds.oneOf(['auto', 'firecracker', 'qemu']), {
    name: 'EXECUTOR_VMM',
    section: 'MicroVM',
    default: 'auto',
    doc: "Kiln's own. What runs microVMs. `auto`: Firecracker where it is installed and a test boot of it works, else as `qemu`: QEMU, with KVM where a test boot proves that it works, else under software emulation. `firecracker`: that or nothing.",
  }),
  firecrackerImage: optional(kinds.image, {
    name: 'EXECUTOR_FIRECRACKER_IMAGE',
    section: 'MicroVM',
    doc: 'Path of a root file system (squashfs) of your own for the microVM. Otherwise the one that `executor install` has built; an image reference has no effect.',
  }),
  firecrackerKernelImage: optional(kinds.image, {
    name: 'EXECUTOR_FIRECRACKER_KERNEL_IMAGE',
    section: 'MicroVM',
    doc: 'Path of a kernel of your own for the microVM, of the same version as the modules of the guest. Otherwise the one that `executor install` has built; an image reference has no effect.',
  }),
  firecrackerSandboxImage: optional(kinds.image, {
    name: 'EXECUTOR_FIRECRACKER_SANDBOX_IMAGE',
    section: 'MicroVM',
    doc: 'Accepted and unused: Kiln starts the VMM without a container around it.',
  }),
  firecrackerBandwidthIngress: defaulted(kinds.integer(0), {
    name: 'EXECUTOR_FIRECRACKER_BANDWIDTH_INGRESS',
    section: 'MicroVM',
    default: '524288000',
    doc: 'Bytes per second into a microVM.',
  }),
  firecrackerBandwidthEgress: defaulted(kinds.integer(0), {
    name: 'EXECUTOR_FIRECRACKER_BANDWIDTH_EGRESS',
    section: 'MicroVM',
    default: '524288000',
    doc: 'Bytes per second out of a microVM.',
  }),
  dockerRegistryMirrorUrls: optional(kinds.mirrorUrlList, {
    name: 'EXECUTOR_DOCKER_REGISTRY_MIRROR_URL',
    section: 'MicroVM',
    doc: 'Mirrors of Docker Hub, asked in this order before it, without credentials. They may do without encryption.',
  }),
  microvmDockerConfig: defaulted(kinds.bool, {
    name: 'EXECUTOR_MICROVM_DOCKER_CONFIG',
    section: 'MicroVM',
    default: 'false',
    doc: "Kiln's own. Lets jobs in microVMs have images by the registry credentials in `~/.docker/config.json` of the user who runs the executor, credential helpers included. Other executors cannot use that file with microVMs.",
  }),
  imageCacheBytes: defaulted(kinds.byteSize, {
    name: 'EXECUTOR_IMAGE_CACHE_SIZE',
    section: 'MicroVM',
    default: '50G',
    doc: "Kiln's own. What the images of steps that are kept below `EXECUTOR_DATA_DIR` may have together; past it the least recently used are removed, never one that a job uses.",
  }),
  vmStartupScriptPath: optional(kinds.absolutePath, {
    name: 'EXECUTOR_VM_STARTUP_SCRIPT_PATH',
    section: 'MicroVM',
    doc: 'Script of this machine that runs in each microVM before the steps.',
  }),
  vmPrefix: defaulted(kinds.text, {
    name: 'EXECUTOR_VM_PREFIX',
    section: 'MicroVM',
    default: 'executor',
    doc: 'What names of VMs begin with. Whose a VM is, is never told by its name.',
  }),
  vmSnapshots: defaulted(kinds.bool, {
    name: 'EXECUTOR_VM_SNAPSHOTS',
    section: 'MicroVM',
    default: 'true',
    doc: "Kiln's own. VMs go on from a snapshot of a booted guest, which this executor makes and which has never run a job. `false`: each VM boots, which takes several times as long.",
  }),
  dockerHostMountPath: optional(kinds.absolutePath, {
    name: 'EXECUTOR_DOCKER_HOST_MOUNT_PATH',
    section: 'Docker',
    doc: "Where the Docker daemon's machine has the directory that this executor knows as `TMPDIR` (an executor that runs in a container itself).",
  }),
  dockerAddHostGateway: defaulted(kinds.bool, {
    name: 'EXECUTOR_DOCKER_ADD_HOST_GATEWAY',
    section: 'Docker',
    default: 'false',
    doc: 'Lets steps reach this machine as `host.docker.internal`. Applies to every runtime.',
  }),
  dockerAuthConfig: optional(kinds.dockerAuth, {
    name: 'EXECUTOR_DOCKER_AUTH_CONFIG',
    section: 'Docker',
    secret: true,
    doc: "Registry credentials in the shape of Docker's `config.json`, reduced to `auths`. A job's own credentials replace them all. Applies to every runtime.",
  }),
  dockerAllowLocalImages: defaulted(kinds.bool, {
    name: 'EXECUTOR_DOCKER_ALLOW_LOCAL_IMAGES',
    section: 'Docker',
    default: 'false',
    doc: "Kiln's own. Lets jobs use images that exist only on this machine, in no registry. Applies to every runtime.",
  }),
  allowedCidrs: optional(kinds.cidrList, {
    name: 'EXECUTOR_ALLOWED_CIDRS',
    section: 'Docker',
    doc: "Kiln's own, every runtime. Private address ranges that jobs may reach; the others and the metadata services of clouds are blocked.",
  }),
  dataDirectory: defaulted(kinds.directory, {
    name: 'EXECUTOR_DATA_DIR',
    section: 'This machine',
    default: {
      from: ({ isRoot, stateHome, homeDirectory }) =>
        isRoot ? '/var/lib/kiln-executor' : `${stateHome ?? `${homeDirectory}/.local/state`}/kiln-executor`,
      doc: '`/var/lib/kiln-executor`; for others than root `$XDG_STATE_HOME/kiln-executor`',
    },
    doc: "Kiln's own. All that the executor keeps: outcomes not yet delivered and what to clean up after a crash; with microVMs also the guest, images (`EXECUTOR_IMAGE_CACHE_SIZE`), snapshots, and two drives of up to `EXECUTOR_FIRECRACKER_DISK_SPACE` for each running job. Give it one large file system.",
  }),
  temporaryDirectory: defaulted(kinds.directory, {
    name: 'TMPDIR',
    section: 'This machine',
    default: { from: ({ temporaryDirectory }) => temporaryDirectory, doc: "the system's" },
    doc: 'Parent of the workspaces; made if missing.',
  }),
  cleanupIntervalSeconds: defaulted(kinds.duration('positive'), {
    name: 'EXECUTOR_CLEANUP_TASK_INTERVAL',
    section: 'This machine',
    default: '1m',
    doc: 'How often leftovers of dead executors are looked for.',
  }),
  allowUnpatchedGit: defaulted(kinds.bool, {
    name: 'EXECUTOR_ALLOW_UNPATCHED_GIT',
    section: 'This machine',
    default: 'false',
    doc: "Kiln's own. Accepts a git whose version has known holes, for distributions that mend them without changing the version.",
  }),
  jobLogLimitBytes: defaulted(kinds.byteSize, {
    name: 'EXECUTOR_JOB_LOG_LIMIT',
    section: 'Logs and metrics',
    default: '2G',
    doc: "Kiln's own. Output kept of one job; more is dropped with a mark in the log. An instance without append-only logs gets at most 64 MiB of a command.",
  }),
  jobAuditLogging: defaulted(kinds.bool, {
    name: 'EXECUTOR_ENABLE_JOB_AUDIT_LOGGING',
    section: 'Logs and metrics',
    default: 'false',
    doc: "Writes each job's document, without secrets and file contents, to the process log.",
  }),
  logLevel: defaulted(
    kinds.oneOf(['dbug', 'info', 'warn', 'error', 'crit'], {
      debug: 'dbug',
      warning: 'warn',
      err: 'error',
      critical: 'crit',
      fatal: 'crit',
    }),
    {
      name: 'SRC_LOG_LEVEL',
      section: 'Logs and metrics',
      default: 'warn',
      doc: 'Level of the process log, which goes to standard error.',
    },
  ),
  logFormat: defaulted(kinds.oneOf(['logfmt', 'condensed', 'json']), {
    name: 'SRC_LOG_FORMAT',
    section: 'Logs and metrics',
    default: 'logfmt',
    doc: 'Form of the process log.',
  }),
  nodeExporterUrl: optional(kinds.exporterUrl, {
    name: 'NODE_EXPORTER_URL',
    section: 'Logs and metrics',
    doc: "A node exporter whose metrics travel with this executor's, without `/metrics`.",
  }),
  dockerRegistryNodeExporterUrl: optional(kinds.exporterUrl, {
    name: 'DOCKER_REGISTRY_NODE_EXPORTER_URL',
    section: 'Logs and metrics',
    doc: 'The exporter of a registry mirror, without `/metrics`.',
  }),
} as const;

type Parsed = { [Key in keyof typeof variables]: ReturnType<(typeof variables)[Key]['parse']> };

/** The settings in force. Seconds and bytes as the names say; the shared secret wherever it came from. */
export interface Settings
  extends Omit<Parsed, 'queueName' | 'queueNames' | 'frontendPassword' | 'frontendPasswordFile'> {
  sharedSecret: string;
  queues: { mode: 'single' | 'multi'; names: readonly [QueueName, ...QueueName[]] };
}
export type VariableKey = keyof typeof variables;
export type ParsedVariables = Parsed;
