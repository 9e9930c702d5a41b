import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { openLocalBlobs } from '../../blobs/index.ts';
import { startInstanceUnderTest } from '../../instance-under-test.ts';
import { openLogs } from '../../logs/index.ts';
import { blobKey, countOrphanFiles, deleteOrphanFiles } from './files.ts';
import { deleteOldJobs } from './retention.ts';

describe('retention', () => {
  test('deletes old jobs with everything about them, and nothing else', async () => {
    await using site = await startInstanceUnderTest();
    const { database, executor } = site;
    const steps = [{ image: 'a', run: 'b' }];
    const ended: number[] = [];
    for (let index = 0; index < 3; index++) {
      const { id } = await site.submit({ steps, files: { 'a.bin': { base64: 'AAE=' } } });
      const { document } = await executor.dequeue();
      if (!document) throw new Error('nothing was given out');
      await executor.logEntry(document, {
        key: 'k',
        command: [],
        startTime: '2026-01-01T00:00:00Z',
        out: 'x',
      });
      await executor.post('markComplete', document, {});
      ended.push(id);
    }
    const waiting = await site.submit({ steps });
    const [old, , recent] = ended;
    await database.query(
      `update jobs set finished_at = now() - interval '91 days' where id <> $1 and state = 'completed'`,
      [recent],
    );
    const files = await database.query<{ key: string }>('select key from submitted_files where job_id = $1', [
      old,
    ]);
    const path = join(site.directory, 'blobs', 'blobs', blobKey(files[0]?.key ?? ''));
    expect((await stat(path)).size).toBe(2);

    const log = pino({ level: 'silent' });
    const blobs = await openLocalBlobs(join(site.directory, 'blobs'));
    const queue = { watch: () => ({ [Symbol.dispose]: () => undefined }) };
    await using logs = await openLogs({ database, blobs, queue, maxBytesPerJob: () => 1e9, log });
    const { signal } = new AbortController();
    expect(await deleteOldJobs({ database, logs, jobsDays: 90 }, signal)).toBe(2);
    expect(await deleteOldJobs({ database, logs, jobsDays: 90 }, signal)).toBe(0);

    expect((await site.call('GET', `/.api/jobs/${old}`)).status).toBe(404);
    for (const id of [recent, waiting.id])
      expect((await site.call('GET', `/.api/jobs/${id}`)).status).toBe(200);
    const left = await database.query<{ job_id: number }>('select job_id from log_entries');
    expect(left).toEqual([{ job_id: recent }]);

    expect(await deleteOrphanFiles({ database, blobs }, signal)).toBe(0);
    await database.query(`update submitted_files set created_at = now() - interval '2 hours'`);
    expect(await countOrphanFiles(database)).toBe(2);
    expect(await deleteOrphanFiles({ database, blobs }, signal)).toBe(2);
    expect(await countOrphanFiles(database)).toBe(0);
    await expect(stat(path)).rejects.toThrow('ENOENT');
    expect(await database.query('select 1 from submitted_files')).toHaveLength(1);
  });
});
