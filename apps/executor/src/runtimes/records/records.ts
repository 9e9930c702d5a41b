import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { writeWhole } from '../../durable-file.ts';

/** Who made it: a process is the same one only if it also started at the same time. */
const ownerSchema = z.object({ owner: z.object({ pid: z.number(), startedAt: z.string() }) });

/** What this machine holds for sandboxes, on disk: written before a thing is made, removed after it is gone. */
export interface SandboxRecords<Fields> {
  /** Also replaces what was written before for the same sandbox. */
  write(fields: Fields): Promise<void>;
  remove(sandbox: string): Promise<void>;
  /** Of all sandboxes whose process has ended; with those of this process that it gave up. */
  abandoned(live: ReadonlySet<string>): Promise<Fields[]>;
  /** Of all sandboxes, whoever has them. */
  all(): Promise<Fields[]>;
}

/**
 * @param directory made when it is missing
 * @param schema of what a record holds; `sandbox` is 12 hexadecimal characters
 */
export function sandboxRecords<Fields extends { sandbox: string }>(
  directory: string,
  schema: z.ZodType<Fields>,
): SandboxRecords<Fields> {
  const pathOf = (sandbox: string): string => join(directory, `${sandbox}.json`);
  return {
    async write(fields) {
      const owner = { pid: process.pid, startedAt: (await processStart(process.pid)) ?? '' };
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await writeWhole(pathOf(fields.sandbox), JSON.stringify({ ...fields, owner }));
    },
    async remove(sandbox) {
      await rm(pathOf(sandbox), { force: true });
    },
    async abandoned(live) {
      const found: Fields[] = [];
      for (const { fields, owner } of await readAll(directory, schema)) {
        if (live.has(fields.sandbox)) continue;
        const isOwn = owner.pid === process.pid;
        const isAlive = (await processStart(owner.pid)) === owner.startedAt;
        if (isOwn || !isAlive) found.push(fields);
      }
      return found;
    },
    all: async () => (await readAll(directory, schema)).map(({ fields }) => fields),
  };
}

/** What goes away meanwhile is passed over: its sandbox is gone. */
async function readAll<Fields>(
  directory: string,
  schema: z.ZodType<Fields>,
): Promise<{ fields: Fields; owner: { pid: number; startedAt: string } }[]> {
  const names = (await unlessMissing(readdir(directory))) ?? [];
  const records: Awaited<ReturnType<typeof readAll<Fields>>> = [];
  for (const name of names.filter((candidate) => candidate.endsWith('.json'))) {
    const text = (await unlessMissing(readFile(join(directory, name), 'utf8'))) ?? '';
    const content = parsed(text);
    const [fields, owner] = [schema.safeParse(content), ownerSchema.safeParse(content)];
    if (fields.success && owner.success) records.push({ fields: fields.data, ...owner.data });
  }
  return records;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function unlessMissing<Result>(reading: Promise<Result>): Promise<Result | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (Reflect.get(Object(error), 'code') === 'ENOENT') return undefined;
    throw error;
  }
}

/** Boot and start time of a process; undefined when there is none of that number. */
export async function processStart(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8');
    // The command's name may hold blanks and parentheses; what follows its last ")" does not.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return `${boot.trim()} ${fields[19]}`;
  } catch {
    return undefined;
  }
}
