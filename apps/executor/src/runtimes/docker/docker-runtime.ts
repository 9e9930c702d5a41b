import { createResolver, parseCIDR } from '../network/index.ts';
import { type Runtime, SandboxError } from '../runtime.ts';
import { defaultMaxProcesses } from '../step/index.ts';
import { type DaemonFacts, daemonFacts } from './daemon-facts.ts';
import { daemonNetworkNamespace } from './daemon-namespace.ts';
import { dockerSocketPath } from './docker-host.ts';
import { openEngine } from './engine.ts';
import { openImages } from './images.ts';
import { sandboxNames } from './names.ts';
import { dockerRecords } from './records.ts';
import { createSandbox, removeSandbox } from './sandbox.ts';
import { validateDocker } from './validate.ts';

export interface DockerRuntimeOptions {
  /** `<host>-<uuid>`: the value of the label by which containers and networks are known as ours. */
  executorName: string;
  /** Of the executor; records of what is on the machine are kept in `docker/` below it. */
  dataDirectory: string;
  /** `DOCKER_HOST`; only `unix://`. */
  dockerHost?: string | undefined;
  /** `EXECUTOR_DOCKER_HOST_MOUNT_PATH`: the workspaces' parent directory as the daemon sees it. */
  hostMountPath?: string | undefined;
  /** `EXECUTOR_DOCKER_ADD_HOST_GATEWAY`: `host.docker.internal` names this machine in steps. */
  addHostGateway?: boolean;
  /** `EXECUTOR_DOCKER_ALLOW_LOCAL_IMAGES`: images that no registry vouches for may be used. */
  allowLocalImages?: boolean;
  /** `EXECUTOR_ALLOWED_CIDRS`: ranges that jobs with network `public` may reach although they are private. */
  allowedCIDRs?: readonly string[];
  /** `EXECUTOR_FRONTEND_URL`: steps may reach it wherever it is. */
  instanceURL: URL;
  /** Whom jobs' lookups are passed to; undefined: this machine's name servers. */
  nameServers?: readonly string[];
  /** `EXECUTOR_MIN_FREE_DISK`, in bytes: a step is stopped when this machine has less. */
  minFreeDiskBytes: number;
  /** Processes and threads of one step; default 4096. */
  maxProcesses?: number;
  /** For what went wrong outside any job. */
  warn(message: string, error: unknown): void;
}

/**
 * Docker goes on with what a dead executor asked it for last: a network or a container may come into being after the
 * sandbox was removed. So its record stays so much longer, and each sweep until then removes it again.
 */
const lateSeconds = 45;

/**
 * Runs steps as containers of a Docker daemon on this machine. No connection is made before the first call.
 * @throws RangeError for a `dockerHost` or an `allowedCIDRs` entry that cannot be used
 */
export function createDockerRuntime(options: DockerRuntimeOptions): Runtime & AsyncDisposable {
  const engine = openEngine(dockerSocketPath(options.dockerHost));
  const images = openImages(engine, { allowLocalImages: options.allowLocalImages ?? false });
  const records = dockerRecords(options.dataDirectory);
  const allowedCIDRs = (options.allowedCIDRs ?? []).map(parseCIDR);
  const resolver = createResolver(options.warn);
  /** Sandboxes that exist or are being made. */
  const live = new Set<string>();
  let orphansRemoved = 0;
  let networkNamespace: string | undefined;
  let facts: DaemonFacts | undefined;

  return {
    name: 'docker',
    isolation: { runtime: 'docker' },
    validate: async (signal) =>
      validateDocker(engine, await daemonNetworkNamespace(engine.socketPath), signal),
    async create(job, signal) {
      const names = sandboxNames(options.executorName, job.id, job.attempt);
      live.add(names.sandbox);
      try {
        facts ??= await daemonFacts(engine, signal);
        // Looked up for each job: a daemon that restarted may have another.
        networkNamespace = await daemonNetworkNamespace(engine.socketPath, networkNamespace);
        await records.write({
          ...names,
          socketPath: engine.socketPath,
          ...(networkNamespace === undefined ? {} : { networkNamespace }),
        });
        return await createSandbox(
          {
            engine,
            images,
            facts,
            names,
            network: {
              instanceURL: options.instanceURL,
              allowedCIDRs,
              networkNamespace,
              resolver,
              nameServers: options.nameServers,
            },
            hostMountPath: options.hostMountPath,
            addHostGateway: options.addHostGateway ?? false,
            minFreeDiskBytes: options.minFreeDiskBytes,
            maxProcesses: options.maxProcesses ?? defaultMaxProcesses,
            async onRemoved(error) {
              // A sandbox that could not be removed keeps its record: the next sweep takes it.
              live.delete(names.sandbox);
              if (error === undefined) await records.remove(names.sandbox);
              else options.warn(`sandbox of job ${job.id} could not be removed yet`, error);
            },
          },
          job,
          signal,
        );
      } catch (error) {
        live.delete(names.sandbox);
        signal.throwIfAborted();
        if (error instanceof SandboxError) throw error;
        throw new SandboxError(error instanceof Error ? error.message : String(error), {
          infrastructure: true,
          cause: error,
        });
      }
    },
    async sweep(signal) {
      for (const record of await records.abandoned(live)) {
        signal.throwIfAborted();
        try {
          await using recordEngine =
            record.socketPath === engine.socketPath ? undefined : openEngine(record.socketPath);
          await removeSandbox(recordEngine ?? engine, record, record.networkNamespace);
          if (record.removedAt === undefined) {
            orphansRemoved += 1;
            await records.write({ ...record, removedAt: Date.now() });
          } else if (Date.now() - record.removedAt >= lateSeconds * 1000)
            await records.remove(record.sandbox);
        } catch (error) {
          options.warn(
            `what job ${record.job} of ${record.executor} left behind could not be removed yet`,
            error,
          );
        }
      }
    },
    counts: () => ({ open: live.size, orphansRemoved }),
    async [Symbol.asyncDispose]() {
      await resolver[Symbol.asyncDispose]();
      await engine[Symbol.asyncDispose]();
    },
  };
}
