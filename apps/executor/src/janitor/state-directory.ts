import { readFileSync, readlinkSync } from 'node:fs';
import { mkdir, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { syncDirectory } from '../durable-file.ts';

/** Who owns a state directory, exactly enough to tell whether that process still lives. */
export const ownerSchema = z.object({
  executorName: z.string(),
  host: z.string(),
  bootId: z.string(),
  pid: z.int(),
  /** Start of the process in clock ticks since boot: a pid alone is given out again. */
  startTicks: z.string(),
  /** Pids mean something only within one namespace (containers that share a data directory). */
  pidNamespace: z.string(),
});
export type Owner = z.infer<typeof ownerSchema>;

/** `DATA_DIR/executors/<name>`: what this executor must find again after a crash, or leave to a successor. */
export interface StateDirectory {
  readonly directory: string;
  readonly outcomesDirectory: string;
  /** Directories of dead executors that this one has taken over. */
  readonly adoptedDirectory: string;
  /**
   * Records a workspace before it is made.
   * @param path absolute
   */
  recordWorkspace(path: string): Promise<WorkspaceRecord>;
  /** Records of workspaces that could not be removed when their jobs ended. */
  abandonedWorkspaces(): Promise<string[]>;
  /** Shows executors in other pid namespaces that this one lives. Called with each heartbeat. */
  touch(): Promise<void>;
  /** Whether nothing in it waits for anybody. */
  isEmpty(): Promise<boolean>;
  remove(): Promise<void>;
}

export interface WorkspaceRecord {
  /** The workspace is gone. */
  forget(): Promise<void>;
  /** The workspace is nobody's any more, but still there: a later round of cleaning up takes it. */
  abandon(): void;
}

export const ownerFile = 'owner.json';
export const workspacesFolder = 'workspaces';
export const outcomesFolder = 'outcomes';
export const adoptedFolder = 'adopted';

/** Closed to other users: outcomes hold job tokens. */
export async function openStateDirectory(
  dataDirectory: string,
  executorName: string,
): Promise<StateDirectory> {
  const directory = join(executorsDirectory(dataDirectory), executorName);
  for (const folder of [workspacesFolder, outcomesFolder, adoptedFolder])
    await mkdir(join(directory, folder), { recursive: true, mode: 0o700 });
  for (const path of [dataDirectory, executorsDirectory(dataDirectory), directory]) await syncDirectory(path);
  const owner = join(directory, ownerFile);
  await writeFile(owner, JSON.stringify(thisProcess(executorName)), { mode: 0o600 });
  /** Workspaces of jobs that run. */
  const live = new Set<string>();
  return {
    directory,
    outcomesDirectory: join(directory, outcomesFolder),
    adoptedDirectory: join(directory, adoptedFolder),
    async recordWorkspace(path) {
      const record = join(directory, workspacesFolder, basename(path));
      live.add(record);
      await writeFile(record, path, { mode: 0o600 });
      return {
        async forget() {
          await rm(record, { force: true });
          live.delete(record);
        },
        abandon: () => void live.delete(record),
      };
    },
    async abandonedWorkspaces() {
      const folder = join(directory, workspacesFolder);
      return (await list(folder)).map((name) => join(folder, name)).filter((record) => !live.has(record));
    },
    async touch() {
      const now = new Date();
      await utimes(owner, now, now);
    },
    async isEmpty() {
      const folders = [workspacesFolder, outcomesFolder, adoptedFolder];
      const contents = await Promise.all(folders.map((folder) => list(join(directory, folder))));
      return contents.every((names) => names.length === 0);
    },
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}

/** What is not there (taken over by an executor that believed this one dead) holds nothing. */
async function list(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

export function executorsDirectory(dataDirectory: string): string {
  return join(dataDirectory, 'executors');
}

export function thisProcess(executorName: string): Owner {
  return {
    executorName,
    host: hostname(),
    bootId: readOr('/proc/sys/kernel/random/boot_id', 'unknown'),
    pid: process.pid,
    startTicks: startTicksOf(process.pid) ?? '',
    pidNamespace: pidNamespace(),
  };
}

/** Field 22 of the process's stat; undefined when there is no such process. */
export function startTicksOf(pid: number): string | undefined {
  const stat = readOr(`/proc/${pid}/stat`, '');
  // The name in parentheses may hold anything; fields are counted after it.
  return stat === '' ? undefined : stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
}

function pidNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    // No /proc (macOS): one namespace.
    return 'only';
  }
}

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    // Vanished process, or a system without /proc.
    return otherwise;
  }
}
