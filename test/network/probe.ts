import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inNamespace } from '../kit/network-namespace.ts';

export const probePath = join(import.meta.dirname, 'probe.pl');

/** The text of the program that makes attempts. */
export async function probeText(): Promise<string> {
  return readFile(probePath, 'utf8');
}

/** Makes attempts from a network namespace of this machine. @returns what came of each, by its first word */
export async function probeProgram(
  namespace: string,
  attempts: readonly string[],
): Promise<Map<string, string>> {
  return outcomesOf(await inNamespace(namespace, ['perl', probePath, ...attempts]));
}

export function outcomesOf(text: string): Map<string, string> {
  const lines = text.split('\n').filter((line) => line.includes(' '));
  return new Map(lines.map((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)]));
}
