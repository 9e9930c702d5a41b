import type { Settings } from './env/index.ts';
import type { Logger } from './process-log/index.ts';
import { createDockerRuntime } from './runtimes/docker/index.ts';
import { createMicrovmRuntime, type MicrovmRuntime } from './runtimes/microvm/index.ts';
import type { Runtime } from './runtimes/runtime.ts';

export interface RuntimeSurroundings {
  settings: Settings;
  executorName: string;
  dockerHost: string | undefined;
  log: Logger;
}

/** The runtime that the settings ask for. Never a weaker one when that cannot be had: then `validate` says what is missing. */
export function chooseRuntime(surroundings: RuntimeSurroundings): Runtime & AsyncDisposable {
  const { settings, executorName, dockerHost, log } = surroundings;
  if (settings.useFirecracker) return openMicrovmRuntime(surroundings);
  return createDockerRuntime({
    executorName,
    dataDirectory: settings.dataDirectory,
    dockerHost,
    hostMountPath: settings.dockerHostMountPath,
    addHostGateway: settings.dockerAddHostGateway,
    allowLocalImages: settings.dockerAllowLocalImages,
    allowedCIDRs: settings.allowedCidrs ?? [],
    instanceURL: settings.frontendUrl,
    minFreeDiskBytes: settings.minFreeDiskBytes,
    warn: (message, error) => log.warn({ error }, message),
  });
}

/** The microVM runtime, also for what only it can do. */
export function openMicrovmRuntime({
  settings,
  executorName,
  log,
}: Omit<RuntimeSurroundings, 'dockerHost'>): MicrovmRuntime {
  return createMicrovmRuntime({
    executorName,
    dataDirectory: settings.dataDirectory,
    vmm: settings.vmm,
    vmPrefix: settings.vmPrefix,
    ownRootPath: ownFile(settings.firecrackerImage),
    ownKernelPath: ownFile(settings.firecrackerKernelImage),
    startupScriptPath: settings.vmStartupScriptPath,
    keepWorkspaces: settings.keepWorkspaces,
    snapshots: settings.vmSnapshots,
    addHostGateway: settings.dockerAddHostGateway,
    allowLocalImages: settings.dockerAllowLocalImages,
    maxImageBytes: settings.imageCacheBytes,
    registryMirrorURLs: settings.dockerRegistryMirrorUrls ?? [],
    bandwidth: {
      ingress: settings.firecrackerBandwidthIngress,
      egress: settings.firecrackerBandwidthEgress,
    },
    allowedCIDRs: settings.allowedCidrs ?? [],
    instanceURL: settings.frontendUrl,
    minFreeDiskBytes: settings.minFreeDiskBytes,
    warn: (message, error) => log.warn({ error }, message),
  });
}

/** An image reference has no effect; the settings have warned of it. */
function ownFile(value: string | undefined): string | undefined {
  return value?.startsWith('/') ? value : undefined;
}
