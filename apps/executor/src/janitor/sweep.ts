import { readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, isAbsolute, join } from 'node:path';
import { z } from 'zod';
import type { Logger } from '../process-log/index.ts';
import {
  adoptedFolder,
  executorsDirectory,
  type Owner,
  outcomesFolder,
  ownerFile,
  ownerSchema,
  type StateDirectory,
  startTicksOf,
  thisProcess,
  workspacesFolder,
} from './state-directory.ts';

export interface SweepOptions {
  dataDirectory: string;
  state: StateDirectory;
  executorName: string;
  /** Takes over the delivery of an outcome file, which goes when it is settled. Asked again for the same file until then. */
  adoptOutcome(path: string): void;
  removeWorkspace(path: string): Promise<void>;
  keepWorkspaces: boolean;
  log: Logger;
}

/** An owner that cannot be looked up, because it lives in another pid namespace, counts as dead after this silence. */
const silenceSeconds = 120;

/**
 * Takes over what dead executors of this data directory left: delivers their outcomes, removes their workspaces, and our
 * own that could not be removed before. A
 * directory is taken by renaming it into our own, so that of several executors exactly one gets it, and if that one
 * dies too, its successor finds it there.
 */
export async function sweepDeadExecutors(options: SweepOptions): Promise<void> {
  const executors = executorsDirectory(options.dataDirectory);
  for (const directory of await list(executors)) {
    const name = basename(directory);
    if (name === options.executorName || !(await isDead(directory))) continue;
    const taken = join(options.state.adoptedDirectory, name);
    try {
      await rename(directory, taken);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
      throw error;
    }
    options.log.info({ executor: name }, 'taking over what a dead executor left');
  }
  await settleAdopted(options, options.state.adoptedDirectory);
  await removeWorkspaces(options, await options.state.abandonedWorkspaces());
}

async function settleAdopted(options: SweepOptions, adopted: string): Promise<void> {
  for (const directory of await list(adopted)) {
    await settleAdopted(options, join(directory, adoptedFolder));
    const outcomes = await list(join(directory, outcomesFolder));
    for (const path of outcomes) options.adoptOutcome(path);
    await removeWorkspaces(options, await list(join(directory, workspacesFolder)));
    // Delivery may take as long as the instance is away; a later sweep finds the directory settled.
    const others = await Promise.all(
      [adoptedFolder, workspacesFolder].map((folder) => list(join(directory, folder))),
    );
    if (outcomes.length === 0 && others.flat().length === 0)
      await rm(directory, { recursive: true, force: true });
  }
}

/** One that cannot be removed keeps its record, and keeps nothing else from being cleaned up. */
async function removeWorkspaces(options: SweepOptions, records: readonly string[]): Promise<void> {
  for (const record of records) {
    try {
      const path = await readFile(record, 'utf8');
      if (!options.keepWorkspaces && isWorkspace(path, record)) await options.removeWorkspace(path);
      await rm(record, { force: true });
    } catch (error) {
      options.log.error({ error, record }, 'could not remove a workspace; trying again later');
    }
  }
}

/** A record names the workspace twice, by its own name and by its content: a damaged one must not remove anything else. */
function isWorkspace(path: string, record: string): boolean {
  return (
    isAbsolute(path) &&
    basename(path) === basename(record) &&
    /^workspace-\d+-[0-9a-f]{12}$/.test(basename(path))
  );
}

async function isDead(directory: string): Promise<boolean> {
  const file = join(directory, ownerFile);
  let owner: Owner;
  let silentSeconds: number;
  try {
    silentSeconds = (Date.now() - (await stat(file)).mtimeMs) / 1000;
    owner = ownerSchema.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      // Just being made, just taken by another, or left by a crash in the very first moment.
      const made = await stat(directory).catch(() => undefined);
      return made !== undefined && (Date.now() - made.mtimeMs) / 1000 > silenceSeconds;
    }
    if (error instanceof SyntaxError || error instanceof z.ZodError) return true;
    throw error;
  }
  const here = thisProcess('');
  if (owner.host !== here.host) return silentSeconds > silenceSeconds;
  if (owner.bootId !== here.bootId) return true;
  if (owner.pidNamespace !== here.pidNamespace) return silentSeconds > silenceSeconds;
  return startTicksOf(owner.pid) !== owner.startTicks;
}

async function list(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).map((name) => join(directory, name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
