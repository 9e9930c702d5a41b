import {
  type Compatibility,
  compareVersions,
  compatVersion,
  type ExecutorView,
  InvalidVersionError,
  type Isolation,
  isQueueName,
  kilnVersion,
} from '@kiln/protocol';

/** No heartbeat for longer than this, three intervals of the reference: not active. */
export const activeSeconds = 15;

export interface ExecutorRow {
  name: string;
  queues: string[];
  os: string;
  architecture: string;
  dockerVersion: string;
  executorVersion: string;
  gitVersion: string;
  srcCliVersion: string;
  kilnVersion: string;
  slots: number | null;
  running: number | null;
  isolation: Isolation | null;
  draining: boolean;
  endedBecause: string | null;
  firstSeenAt: Date;
  lastSeenAt: Date;
  /** Measured by the database, which also wrote the time. */
  unseenSeconds: number;
}

export const executorColumns = `name, queues, os, architecture, docker_version as "dockerVersion",
  executor_version as "executorVersion", git_version as "gitVersion", src_cli_version as "srcCliVersion",
  kiln_version as "kilnVersion", slots, running, isolation, draining, ended_because as "endedBecause",
  first_seen_at as "firstSeenAt", last_seen_at as "lastSeenAt",
  extract(epoch from now() - last_seen_at)::float8 as "unseenSeconds"`;

export function executorView({ unseenSeconds, ...row }: ExecutorRow): ExecutorView {
  const active = unseenSeconds <= activeSeconds && row.endedBecause === null;
  return {
    ...row,
    queues: row.queues.filter(isQueueName),
    active,
    compatibility: active ? compatibilityOf(row) : null,
    firstSeenAt: row.firstSeenAt.toISOString(),
    lastSeenAt: row.lastSeenAt.toISOString(),
  };
}

/** Between Kiln and Kiln our own versions are compared, otherwise those of the wire. */
function compatibilityOf(executor: { executorVersion: string; kilnVersion: string }): Compatibility | null {
  try {
    return executor.kilnVersion === ''
      ? compareVersions(executor.executorVersion, compatVersion)
      : compareVersions(executor.kilnVersion, kilnVersion);
  } catch (error) {
    // A version nobody can read: empty until the first full heartbeat, or a private build.
    if (error instanceof InvalidVersionError) return null;
    throw error;
  }
}
