import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';

/** Process numbers of what a demo started. */
export interface SitePids {
  executor: number;
  instance: number;
  /** Absent where the machine's own daemon is used. */
  docker?: number;
}

/** What an earlier demo left running: kept on purpose, or because it was killed. Undefined: nothing. */
export async function findRunning(directory: string): Promise<Partial<SitePids> | undefined> {
  const text = await readFile(file(directory), 'utf8').catch(() => '{}');
  const remembered: Partial<SitePids> = JSON.parse(text);
  const running: Partial<SitePids> = {};
  for (const name of ['executor', 'instance', 'docker'] as const) {
    const pid = remembered[name];
    if (pid !== undefined && (await belongsTo(pid, directory))) running[name] = pid;
  }
  return Object.keys(running).length > 0 ? running : undefined;
}

/**
 * How a person stops it. An executor lets running jobs finish at the first signal, for which it needs the others, and
 * gives them back at a second one.
 */
export function stopCommand({ executor, instance, docker }: Partial<SitePids>): string {
  const all = [executor, instance, docker].filter((pid) => pid !== undefined).join(' ');
  return executor === undefined ? `kill ${all}` : `kill -INT ${executor}; kill ${all}`;
}

export function remember(directory: string, pids: SitePids): Promise<void> {
  return writeFile(file(directory), JSON.stringify(pids));
}

export function forget(directory: string): Promise<void> {
  return rm(file(directory), { force: true });
}

function file(directory: string): string {
  return path.join(directory, 'running.json');
}

/** A process number is used again by others: what it runs must name the directory of the demo. */
async function belongsTo(pid: number, directory: string): Promise<boolean> {
  const of = (name: string) => readFile(`/proc/${pid}/${name}`, 'utf8').catch(() => '');
  return (await of('cmdline')).includes(directory) || (await of('environ')).includes(directory);
}
