import { z } from 'zod';
import type { Engine } from './engine.ts';

const infoSchema = z.object({
  ServerVersion: z.string(),
  NCPU: z.number(),
  MemTotal: z.number(),
  Driver: z.string(),
  DockerRootDir: z.string(),
  CgroupDriver: z.string(),
  CgroupVersion: z.string().optional(),
  SecurityOptions: z.array(z.string()).nullish(),
  RuncCommit: z.object({ ID: z.string() }).optional(),
});

export interface DaemonFacts {
  version: string;
  numCPUs: number;
  memoryBytes: number;
  storageDriver: string;
  rootDirectory: string;
  /** `cgroupfs`, `systemd` or `none` */
  cgroupDriver: string;
  /** `1` or `2` */
  cgroupVersion: string;
  /** As the daemon lists them: `name=seccomp,profile=default`, `name=rootless`, `name=userns`, ... */
  securityOptions: string[];
}

export async function daemonFacts(engine: Engine, signal?: AbortSignal): Promise<DaemonFacts> {
  const info = await engine.json({ method: 'GET', path: '/info', deadlineSeconds: 30, signal }, infoSchema);
  return {
    version: info.ServerVersion,
    numCPUs: info.NCPU,
    memoryBytes: info.MemTotal,
    storageDriver: info.Driver,
    rootDirectory: info.DockerRootDir,
    cgroupDriver: info.CgroupDriver,
    cgroupVersion: info.CgroupVersion ?? '1',
    securityOptions: info.SecurityOptions ?? [],
  };
}

const versionSchema = z.object({
  Components: z.array(z.object({ Name: z.string(), Version: z.string() })).optional(),
});

/** Version of runc as the daemon reports it; undefined when it does not. */
export async function runcVersion(engine: Engine, signal: AbortSignal): Promise<string | undefined> {
  const answer = await engine.json(
    { method: 'GET', path: '/version', deadlineSeconds: 30, signal },
    versionSchema,
  );
  return answer.Components?.find((component) => component.Name === 'runc')?.Version;
}
