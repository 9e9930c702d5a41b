import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestDatabase, type TestDatabase } from '../../../../test/kit/database.ts';
import { type Blobs, openLocalBlobs } from '../blobs/index.ts';
import { archiveLog, deleteForgottenBlobs, idleLogs, largeLogs } from './archive.ts';
import { droppedMarker } from './entries.ts';
import { type EntryHead, type JobEvent, type Logs, type Output, openLogs } from './index.ts';

const head: EntryHead = { key: 'step.docker.0', command: ['sh', '-c', 'make'], startedAt: new Date(0) };
const ended: EntryHead = { ...head, exitCode: 0, durationMs: 12 };

function output(data: string | Buffer): Output {
  const bytes = Buffer.from(data);
  return {
    bytes: bytes.length,
    async *read(start = 0) {
      for (let at = start; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000);
    },
  };
}

async function collect(body: AsyncIterable<Buffer>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(body));
}

describe('logs', () => {
  let test: TestDatabase;
  let blobs: Blobs;
  let directory: string;
  let logs: Logs;
  let maxBytes = 10_000_000;
  let nextJob = 1;
  const stateWatchers = new Set<() => void>();

  beforeAll(async () => {
    test = await startTestDatabase();
    directory = await mkdtemp(join(tmpdir(), 'kiln-logs-'));
    blobs = await openLocalBlobs(directory);
    const queue = {
      watch: (_: number, onChange: () => void) => {
        stateWatchers.add(onChange);
        return { [Symbol.dispose]: () => void stateWatchers.delete(onChange) };
      },
    };
    logs = await openLogs({
      database: test.database,
      blobs,
      queue,
      maxBytesPerJob: () => maxBytes,
      log: pino({ level: 'silent' }),
    });
  });
  afterAll(async () => {
    await logs?.[Symbol.asyncDispose]();
    await test?.[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  async function text(jobId: number, entry: number, attempt = 1): Promise<string> {
    const found = await logs.output({ jobId, attempt, entry });
    return found ? (await collect(found.body)).toString() : 'no such entry';
  }

  it('numbers entries from 1 within each attempt and keeps those of earlier attempts', async () => {
    const jobId = nextJob++;
    expect(await logs.addEntry({ jobId, attempt: 1 }, head, output('one'))).toEqual({ entry: 1 });
    expect(await logs.addEntry({ jobId, attempt: 1 }, head, output(''))).toEqual({ entry: 2 });
    expect(await logs.addEntry({ jobId, attempt: 2 }, head, output('again'))).toEqual({ entry: 1 });
    expect(await logs.addEntry({ jobId, attempt: 1 }, head, output('late'))).toEqual({ refused: 'stale' });
    const late = { jobId, attempt: 1, entry: 1 };
    expect(await logs.updateEntry(late, head, output('late'))).toEqual({ refused: 'stale' });
    expect(await logs.append(late, { offset: 3, data: Buffer.from('late') })).toEqual({ refused: 'stale' });
    expect(await text(jobId, 1)).toBe('one');
    expect(await text(jobId, 1, 2)).toBe('again');
    expect((await logs.entries(jobId)).map(({ attempt, entry }) => [attempt, entry])).toEqual([
      [1, 1],
      [1, 2],
      [2, 1],
    ]);
    expect(await logs.updateEntry({ jobId, attempt: 2, entry: 2 }, head, output(''))).toEqual({
      refused: 'unknown',
    });
  });

  it('stores only what follows the stored part of a whole-entry update', async () => {
    const jobId = nextJob++;
    const name = { jobId, attempt: 1, entry: 1 };
    await logs.addEntry(name, head, output('a\n'));
    await logs.updateEntry(name, head, output('a\nb\n'));
    await logs.updateEntry(name, ended, output('a\nb\nc\n'));
    await logs.updateEntry(name, ended, output('a\nb\nc\n'));
    expect(await text(jobId, 1)).toBe('a\nb\nc\n');
    const chunks = await test.database.query(
      'select start from log_chunks where job_id = $1 order by start',
      [jobId],
    );
    expect(chunks).toEqual([{ start: 0 }, { start: 2 }, { start: 4 }]);
    await logs.updateEntry(name, ended, output('a\nX'));
    expect(await text(jobId, 1)).toBe('a\nX');
    await logs.updateEntry(name, ended, output('another beginning'));
    expect(await text(jobId, 1)).toBe('another beginning');
    expect(await logs.entries(jobId)).toEqual([
      expect.objectContaining({ exitCode: 0, durationMs: 12, bytes: 17, command: ['sh', '-c', 'make'] }),
    ]);
  });

  it('appends at the expected offset only, and accepts the same bytes again', async () => {
    const jobId = nextJob++;
    const name = { jobId, attempt: 1, entry: 1 };
    await logs.addEntry(name, head, output(''));
    const append = (offset: number, data: string) => logs.append(name, { offset, data: Buffer.from(data) });
    expect(await append(0, 'abc')).toEqual({ nextOffset: 3 });
    expect(await append(0, 'abc')).toEqual({ nextOffset: 3 });
    expect(await append(1, 'b')).toEqual({ nextOffset: 3 });
    expect(await append(0, 'abX')).toEqual({ mismatch: 3 });
    expect(await append(2, 'cd')).toEqual({ mismatch: 3 });
    expect(await append(5, 'x')).toEqual({ mismatch: 3 });
    expect(await append(5, '')).toEqual({ mismatch: 3 });
    expect(await append(3, 'd')).toEqual({ nextOffset: 4 });
    const last = { offset: 4, data: Buffer.alloc(0), exitCode: 3, durationMs: 4 };
    expect(await logs.append(name, last)).toEqual({ nextOffset: 4 });
    expect(await text(jobId, 1)).toBe('abcd');
    expect((await logs.entries(jobId))[0]).toMatchObject({ exitCode: 3, durationMs: 4, bytes: 4 });
    // A whole-entry update after appends: there is no hash to compare with, the stored bytes are read.
    await logs.updateEntry(name, ended, output('abcde'));
    expect(await text(jobId, 1)).toBe('abcde');
    expect(await logs.append({ ...name, entry: 9 }, last)).toEqual({ refused: 'unknown' });
  });

  it('accepts simultaneous writes of one entry as if they came one after the other', async () => {
    const jobId = nextJob++;
    const name = { jobId, attempt: 1, entry: 1 };
    await logs.addEntry(name, head, output(''));
    const same = Array.from({ length: 8 }, () => logs.append(name, { offset: 0, data: Buffer.from('once') }));
    for (const result of await Promise.all(same)) expect(result).toEqual({ nextOffset: 4 });
    expect(await text(jobId, 1)).toBe('once');
    const added = await Promise.all(
      Array.from({ length: 8 }, () => logs.addEntry({ jobId, attempt: 1 }, head, output('x'))),
    );
    expect(added.map((result) => ('entry' in result ? result.entry : 0)).sort((a, b) => a - b)).toEqual([
      2, 3, 4, 5, 6, 7, 8, 9,
    ]);
  });

  it('drops output past the limit with a marker, and still accepts it', async () => {
    maxBytes = 10;
    try {
      const jobId = nextJob++;
      const name = { jobId, attempt: 1, entry: 1 };
      await logs.addEntry(name, head, output('12345'));
      await logs.updateEntry(name, head, output('1234567890abc'));
      await logs.updateEntry(name, ended, output('1234567890abcdef'));
      expect(await text(jobId, 1)).toBe(`1234567890${droppedMarker}`);
      await logs.addEntry(name, head, output(''));
      const second = { ...name, entry: 2 };
      expect(await logs.append(second, { offset: 0, data: Buffer.from('xyz') })).toEqual({ nextOffset: 3 });
      expect(await logs.append(second, { offset: 3, data: Buffer.from('xyz') })).toEqual({ nextOffset: 6 });
      expect(await text(jobId, 2)).toBe(droppedMarker.toString());
      const part = await logs.output(name, { start: 8, end: 14 });
      expect(part?.sizeBytes).toBe(10 + droppedMarker.length);
      expect(part && (await collect(part.body)).toString()).toBe(`90${droppedMarker.subarray(0, 4)}`);
    } finally {
      maxBytes = 10_000_000;
    }
  });

  it('serves any range of an output, from rows and from an archive alike', async () => {
    const jobId = nextJob++;
    const name = { jobId, attempt: 1, entry: 2 };
    const bytes = randomBytes(700_000);
    await logs.addEntry(name, ended, output('first'));
    await logs.addEntry(name, head, output(bytes.subarray(0, 300_000)));
    await logs.append(name, { offset: 300_000, data: bytes.subarray(300_000) });
    const ranges = fc
      .tuple(fc.nat(bytes.length), fc.nat(bytes.length))
      .map(([a, b]) => [a, b].sort((x, y) => x - y));
    const holds = fc.asyncProperty(ranges, async ([start = 0, end = 0]) => {
      const found = await logs.output(name, { start, end });
      expect(found && (await collect(found.body)).equals(bytes.subarray(start, end))).toBe(true);
    });
    await fc.assert(holds, { numRuns: 20 });
    expect(await archiveLog({ database: test.database, blobs }, jobId)).toBe(true);
    expect(await test.database.query('select from log_chunks where job_id = $1', [jobId])).toEqual([]);
    await fc.assert(holds, { numRuns: 20 });
    expect(await text(jobId, 1)).toBe('first');
    // Archived output is continued, compared with and replaced like any other.
    expect(await logs.append(name, { offset: 10, data: bytes.subarray(10, 20) })).toEqual({
      nextOffset: 700_000,
    });
    await logs.updateEntry(name, ended, output(Buffer.concat([bytes, Buffer.from('more')])));
    expect((await logs.output(name))?.sizeBytes).toBe(700_004);
    expect(await text(jobId, 2)).toBe(Buffer.concat([bytes, Buffer.from('more')]).toString());
    await logs.updateEntry(name, ended, output('replaced'));
    expect(await text(jobId, 2)).toBe('replaced');

    await logs.deleteJobs([jobId]);
    expect(await logs.entries(jobId)).toEqual([]);
    expect(await readdir(join(directory, 'blobs', 'logs'), { recursive: true })).toEqual([
      String(jobId % 1000).padStart(3, '0'),
    ]);
  });

  it('a reader goes on when the log is archived while it reads', async () => {
    const jobId = nextJob++;
    const bytes = randomBytes(5_000_000);
    await logs.addEntry({ jobId, attempt: 1 }, ended, output(bytes));
    const found = await logs.output({ jobId, attempt: 1, entry: 1 });
    const read: Buffer[] = [];
    for await (const piece of found?.body ?? []) {
      if (read.length === 0) await archiveLog({ database: test.database, blobs }, jobId);
      read.push(piece);
    }
    expect(Buffer.concat(read).equals(bytes)).toBe(true);
  });

  it('leaves small logs in rows, finds idle ones and forgets no blob', async () => {
    const jobId = nextJob++;
    const store = { database: test.database, blobs };
    await logs.addEntry({ jobId, attempt: 1 }, ended, output('small'));
    await test.database.query(
      `update job_logs set written_at = now() - interval '2 hours' where job_id = $1`,
      [jobId],
    );
    expect(await idleLogs(store, 10)).toEqual([jobId]);
    expect(await logs.leftovers()).toEqual({ logsToArchive: 1, forgottenBlobs: 0 });
    const large = nextJob++;
    await logs.addEntry({ jobId: large, attempt: 1 }, ended, output(randomBytes(70_000)));
    // An earlier attempt's output counts, however little the last one logged.
    await logs.addEntry({ jobId: large, attempt: 2 }, ended, output('x'));
    expect(await largeLogs(store, [jobId, large, 999_999])).toEqual([large]);
    expect(await idleLogs(store, 10)).toEqual([]);
    expect(await archiveLog(store, large)).toBe(true);
    expect(await largeLogs(store, [jobId, large])).toEqual([]);
    expect(await text(jobId, 1)).toBe('small');

    await blobs.put('logs/000/left', (async function* () {})());
    await test.database.query(`insert into log_blobs (blob_key, job_id) values ('logs/000/left', 999999)`);
    expect(await logs.leftovers()).toEqual({ logsToArchive: 0, forgottenBlobs: 1 });
    await deleteForgottenBlobs(store);
    expect(await blobs.get('logs/000/left')).toBeUndefined();
  });

  it('archives the log of an ended job by itself', async () => {
    const jobId = nextJob++;
    const bytes = randomBytes(100_000);
    await logs.addEntry({ jobId, attempt: 1 }, ended, output(bytes));
    logs.ended(jobId);
    await expect
      .poll(() => test.database.query('select from log_chunks where job_id = $1', [jobId]), {
        timeout: 20_000,
      })
      .toEqual([]);
    const found = await logs.output({ jobId, attempt: 1, entry: 1 });
    expect(found && (await collect(found.body)).equals(bytes)).toBe(true);
  });

  it('follows a log from the beginning and from every cursor on to its end', async () => {
    const jobId = nextJob++;
    let state: JobEvent = {
      state: 'processing',
      attempt: 1,
      executor: 'e',
      failureMessage: null,
      waiting: null,
    };
    const following = AbortSignal.timeout(20_000);
    const follow = (after?: string) =>
      logs.follow({ jobId, after, signal: following, job: async () => state });
    const all = Array.fromAsync(follow());

    const name = { jobId, attempt: 1, entry: 1 };
    await logs.addEntry(name, head, output('one'));
    await logs.append(name, { offset: 3, data: Buffer.from('two'), exitCode: 0, durationMs: 1 });
    await logs.addEntry(name, head, output('unfinished'));
    state = { ...state, attempt: 2 };
    await logs.addEntry({ jobId, attempt: 2 }, ended, output('three'));
    state = { ...state, state: 'completed' };
    for (const onChange of stateWatchers) onChange();

    const events = await all;
    const summary = (list: typeof events): string[] =>
      list.flatMap(({ event }) => {
        if (event.event === 'output') return [Buffer.from(event.data.data, 'base64').toString()];
        if (event.event === 'entry') {
          return [
            `${event.data.attempt}.${event.data.entry} ${event.data.exitCode === null ? 'begins' : 'ends'}`,
          ];
        }
        return event.event === 'end' ? ['end'] : [];
      });
    const joined = summary(events).join('|').replace('one|two', 'onetwo');
    expect(joined).toBe('1.1 begins|onetwo|1.1 ends|1.2 begins|unfinished|2.1 begins|three|2.1 ends|end');
    expect(events[0]?.event.event).toBe('job');
    expect(events.at(-1)?.event).toEqual({ event: 'end', data: { state: 'completed' } });
    for (const [index, { id }] of events.slice(0, -1).entries()) {
      const rest = await Array.fromAsync(follow(id));
      const expected = summary(events.slice(index + 1)).join('');
      expect(summary(rest).join('').replace('begins|one', ''), id).toBe(expected);
    }
    const ofFirst = logs.follow({ jobId, attempt: 1, signal: following, job: async () => state });
    expect(summary(await Array.fromAsync(ofFirst)).at(-2)).toBe('unfinished');
  });

  it('wakes followers in other instances, and ends when asked to', async () => {
    const jobId = nextJob++;
    const other = await openLogs({
      database: test.database,
      blobs,
      queue: { watch: () => ({ [Symbol.dispose]() {} }) },
      maxBytesPerJob: () => maxBytes,
      log: pino({ level: 'silent' }),
    });
    const state: JobEvent = {
      state: 'processing',
      attempt: 1,
      executor: 'e',
      failureMessage: null,
      waiting: null,
    };
    const stop = new AbortController();
    const seen: string[] = [];
    const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(20_000)]);
    const following = (async () => {
      for await (const { event } of other.follow({ jobId, signal, job: async () => state })) {
        seen.push(event.event);
        if (event.event === 'job') await logs.addEntry({ jobId, attempt: 1 }, head, output('x'));
        if (event.event === 'output') stop.abort();
      }
    })();
    await following;
    expect(seen).toEqual(['job', 'entry', 'output']);
    await other[Symbol.asyncDispose]();
  });
});
