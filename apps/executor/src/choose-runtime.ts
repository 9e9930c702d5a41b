import type { Settings } from './env/index.ts';
import type { Logger } from './process-log/index.ts';
import { createDockerRuntime } from './runtimes/docker/index.ts';
import type { Runtime } from './runtimes/runtime.ts';

export interface RuntimeSurroundings {
  settings: Settings;
  executorName: string;
  dockerHost: string | undefined;
  log: Logger;
}

/** The runtime that the settings ask for. MicroVMs are refused when the settings are read, so what is left is Docker. */
export function chooseRuntime({
  settings,
  executorName,
  dockerHost,
  log,
}: RuntimeSurroundings): Runtime & AsyncDisposable {
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
