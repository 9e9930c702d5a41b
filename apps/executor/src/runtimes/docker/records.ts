import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { SandboxNames } from './names.ts';

const recordSchema = z.object({
  executor: z.string().min(1),
  job: z.number(),
  attempt: z.number(),
  sandbox: z.string().regex(/^[0-9a-f]{12}$/),
  network: z.string(),
  bridge: z.string(),
  table: z.string().regex(/^kiln_[0-9a-f]{12}$/),
  cgroup: z.string().regex(/^\/kiln-[0-9a-f]{12}$/),
  socketPath: z.string(),
  networkNamespace: z.string().optional(),
  /** Who made it: a process is the same one only if it also started at the same time. */
  owner: z.object({ pid: z.number(), startedAt: z.string() }),
});
export type SandboxRecord = z.infer<typeof recordSchema>;

/** What this machine holds for sandboxes, on disk: written before a thing is made, removed after it is gone. */
export interface SandboxRecords {
  add(
    names: SandboxNames,
    where: { socketPath: string; networkNamespace?: string | undefined },
  ): Promise<void>;
  remove(sandbox: string): Promise<void>;
  /** Of all sandboxes whose process has ended; with those of this process that it gave up. */
  abandoned(live: ReadonlySet<string>): Promise<SandboxRecord[]>;
}

/** @param directory made when it is missing */
export function sandboxRecords(directory: string): SandboxRecords {
  const pathOf = (sandbox: string): string => join(directory, `${sandbox}.json`);
  return {
    async add(names, where) {
      const record: SandboxRecord = {
        ...names,
        socketPath: where.socketPath,
        ...(where.networkNamespace === undefined ? {} : { networkNamespace: where.networkNamespace }),
        owner: { pid: process.pid, startedAt: (await processStart(process.pid)) ?? '' },
      };
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await writeDurably(pathOf(names.sandbox), JSON.stringify(record));
    },
    async remove(sandbox) {
      await rm(pathOf(sandbox), { force: true });
    },
    async abandoned(live) {
      const found: SandboxRecord[] = [];
      for (const record of await readAll(directory)) {
        if (live.has(record.sandbox)) continue;
        const isOwn = record.owner.pid === process.pid;
        const isAlive = (await processStart(record.owner.pid)) === record.owner.startedAt;
        if (isOwn || !isAlive) found.push(record);
      }
      return found;
    },
  };
}

/** What goes away meanwhile is passed over: its sandbox is gone. */
async function readAll(directory: string): Promise<SandboxRecord[]> {
  const names = (await unlessMissing(readdir(directory))) ?? [];
  const records: SandboxRecord[] = [];
  for (const name of names.filter((candidate) => candidate.endsWith('.json'))) {
    const text = (await unlessMissing(readFile(join(directory, name), 'utf8'))) ?? '';
    const record = recordSchema.safeParse(parsed(text));
    if (record.success) records.push(record.data);
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

/** A crash of the machine right after leaves either the whole record or none. */
async function writeDurably(path: string, text: string): Promise<void> {
  const file = await open(`${path}.new`, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.datasync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
}

/** Boot and start time of a process; undefined when there is none of that number. */
async function processStart(pid: number): Promise<string | undefined> {
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
