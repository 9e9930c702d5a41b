import { readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';

/** `flock` ends with this where the lock is held; chosen so that Postgres never ends with it. */
export const lockConflictExitCode = 75;

const holderSchema = z.object({ pid: z.int(), host: z.string(), startedAt: z.string() });

/** The lock is the kernel's, on this file; what is written in it only says who holds it. */
export function lockPath(directory: string): string {
  return join(directory, 'lock');
}

/** Notes this process as the holder, for the message that a second instance prints. */
export async function recordHolder(directory: string): Promise<void> {
  const holder: z.infer<typeof holderSchema> = {
    pid: process.pid,
    host: hostname(),
    startedAt: new Date().toISOString(),
  };
  await writeFile(lockPath(directory), `${JSON.stringify(holder)}\n`);
}

/**
 * Who holds the lock. `alive`: a process of this machine that surely still runs, so waiting is pointless; otherwise
 * the holder may be the database of an instance that just ended, which goes within seconds.
 */
export async function heldElsewhere(directory: string): Promise<{ alive: boolean; description: string }> {
  const text = await readFile(lockPath(directory), 'utf8').catch(() => '');
  const parsed = holderSchema.safeParse(parseJson(text));
  if (!parsed.success) return { alive: false, description: '' };
  const { pid, host, startedAt } = parsed.data;
  // A container started again has the same process numbers: its own number says nothing about its predecessor.
  const alive = host === hostname() && pid !== process.pid && isRunning(pid);
  return { alive, description: `(process ${pid} on ${host}, since ${startedAt}) ` };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A zombie still has its number where nothing reaps it, but holds no lock. */
function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return process.platform !== 'linux';
  }
}
