import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { z } from 'zod';
import { sandboxRecords } from './records.ts';

const schema = z.object({ sandbox: z.string().regex(/^[0-9a-f]{12}$/), job: z.number() });
const fields = (job: number) => ({ sandbox: randomBytes(6).toString('hex'), job });

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kiln-records-'));
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

test('gives back what this process made and gave up, not what it uses', async () => {
  const records = sandboxRecords(join(directory, 'docker'), schema);
  const [used, abandoned] = [fields(1), fields(2)];
  await records.write(used);
  await records.write(abandoned);
  expect((await records.abandoned(new Set([used.sandbox]))).map((record) => record.job)).toEqual([2]);
  await records.remove(abandoned.sandbox);
  expect(await records.abandoned(new Set([used.sandbox]))).toEqual([]);
});

test('leaves what a living process has, and takes over from one whose number was given away since', async () => {
  const records = sandboxRecords(directory, schema);
  const names = fields(3);
  await records.write(names);
  const path = join(directory, `${names.sandbox}.json`);
  const record = JSON.parse(await readFile(path, 'utf8'));
  const boot = record.owner.startedAt.split(' ')[0];
  const init = (await readFile('/proc/1/stat', 'utf8')).split(') ')[1]?.split(' ')[19];
  await writeFile(path, JSON.stringify({ ...record, owner: { pid: 1, startedAt: `${boot} ${init}` } }));
  expect(await records.abandoned(new Set())).toEqual([]);
  await writeFile(path, JSON.stringify({ ...record, owner: { pid: 1, startedAt: 'an earlier boot 1' } }));
  expect(await records.abandoned(new Set())).toHaveLength(1);
});

test('passes over what is no record', async () => {
  await writeFile(join(directory, 'x.json'), '{"sandbox": "../../etc"}');
  await writeFile(join(directory, 'y.json'), '{"sandb');
  expect(await sandboxRecords(directory, schema).abandoned(new Set())).toEqual([]);
  expect(await readdir(directory)).toHaveLength(2);
  expect(await sandboxRecords(join(directory, 'none'), schema).abandoned(new Set())).toEqual([]);
});

test('reads on while records come and go', async () => {
  const records = sandboxRecords(directory, schema);
  const kept = fields(1);
  await records.write(kept);
  let isChurning = true;
  const churn = (async () => {
    for (let job = 2; isChurning; job++) {
      const names = fields(job);
      await records.write(names);
      await records.remove(names.sandbox);
    }
  })();
  try {
    for (let round = 0; round < 200; round++)
      expect((await records.abandoned(new Set())).map((record) => record.sandbox)).toContain(kept.sandbox);
  } finally {
    isChurning = false;
    await churn;
  }
});
