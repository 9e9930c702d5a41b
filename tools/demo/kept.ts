import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';

/** What an earlier demo left running: kept on purpose, or because it was killed. */
export async function findRunning(directory: string): Promise<number[]> {
  const text = await readFile(file(directory), 'utf8').catch(() => '[]');
  const pids: unknown = JSON.parse(text);
  if (!Array.isArray(pids)) return [];
  const running = await Promise.all(pids.map((pid) => belongsTo(Number(pid), directory)));
  return pids.map(Number).filter((_, index) => running[index]);
}

export function remember(directory: string, pids: readonly number[]): Promise<void> {
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
