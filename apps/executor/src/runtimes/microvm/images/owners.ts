import { createHash } from 'node:crypto';
import { readlink, stat } from 'node:fs/promises';
import { processStart } from '../../records/index.ts';

/** What another pid namespace has cannot be looked up; it counts as left behind when it has not changed for so long. */
const foreignSeconds = 24 * 3600;

/** `PID-START-NAMESPACE`: begins the names of what this process makes and would leave behind if it were killed. */
export async function ownerToken(): Promise<string> {
  return `${process.pid}-${short((await processStart(process.pid)) ?? '')}-${await pidNamespace()}`;
}

/** Whether the process that made a thing, whose name begins with its {@link ownerToken}, has ended. */
export async function isLeftBehind(path: string, name: string): Promise<boolean> {
  const [, pid = '', start, namespace] = /^(\d+)-([0-9a-f]{12})-([0-9a-f]{12})\./.exec(name) ?? [];
  // Ours are named otherwise; whatever this is, nobody will come back for it.
  if (pid === '') return true;
  if (namespace === (await pidNamespace())) return short((await processStart(Number(pid))) ?? '') !== start;
  const changed = await stat(path).then(
    ({ ctimeMs }) => ctimeMs,
    () => Date.now(),
  );
  return Date.now() - changed > foreignSeconds * 1000;
}

async function pidNamespace(): Promise<string> {
  return short(await readlink('/proc/self/ns/pid').catch(() => 'only'));
}

function short(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 12);
}
