import { createRedactor } from '@kiln/redaction';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { InstanceError, type JobClient, type LogEntryState } from '../client/index.ts';
import { createJobLog, type JobLog } from './index.ts';

interface StoredEntry extends Omit<LogEntryState, 'out'> {
  bytes: Buffer;
}

interface Behaviour {
  append?: boolean;
  /** Called before each append; may throw in place of it, or after it when it returns `answer lost`. */
  onAppend?(call: number, entry: StoredEntry): undefined | 'answer lost' | Promise<undefined>;
  onUpdate?(call: number): void;
}

/** The log routes of an instance, in memory, with faults on demand. */
function fakeInstance(behaviour: Behaviour) {
  const entries: StoredEntry[] = [];
  let appends = 0;
  let updates = 0;
  const unused = () => Promise.reject(new Error('not part of the log'));
  const store = ({ out, ...head }: LogEntryState): StoredEntry => ({ ...head, bytes: Buffer.from(out) });
  const client: JobClient = {
    offers: (extension) => extension === 'log-append' && behaviour.append !== false,
    async addLogEntry(entry) {
      return entries.push(store(entry));
    },
    async updateLogEntry(id, entry) {
      updates++;
      behaviour.onUpdate?.(updates);
      entries[id - 1] = store(entry);
    },
    async appendLog(id, { offset, data, ...ending }) {
      const entry = entries[id - 1];
      if (entry === undefined) throw new InstanceError('gone', 'no such entry');
      appends++;
      const fault = await behaviour.onAppend?.(appends, entry);
      if (offset !== entry.bytes.length) return entry.bytes.length;
      entry.bytes = Buffer.concat([entry.bytes, data]);
      Object.assign(entry, ending);
      if (fault === 'answer lost') throw new InstanceError('unreachable', 'the answer was lost');
      return entry.bytes.length;
    },
    forward: unused,
    mark: unused,
    release: unused,
    openFile: unused,
  };
  return { client, entries, calls: () => appends + updates };
}

const silent = pino({ level: 'silent' });

function openLog(client: JobClient, more: { limitBytes?: number; stop?: AbortSignal } = {}): JobLog {
  return createJobLog({
    client,
    redactor: createRedactor(new Map([['hunter2hunter2', '[PASS]']])),
    stop: more.stop ?? new AbortController().signal,
    onCommand: () => undefined,
    limitBytes: more.limitBytes ?? 2 ** 30,
    processLog: silent,
  });
}

test.each([true, false])(
  'entries keep their order, output, code and redaction (append: %s)',
  async (append) => {
    const { client, entries } = fakeInstance({ append });
    const log = openLog(client);
    const first = log.begin('first', ['run', '--password=hunter2hunter2']);
    await first.write('stdout', Buffer.from('one hunter2'));
    await first.write('stdout', Buffer.from('hunter2\npartial'));
    first.end(0);
    const second = log.begin('second', []);
    second.note('said by us, hunter2hunter2');
    second.end(3);
    const third = log.begin('third', []);
    await third.write('stderr', Buffer.from('late\n'));
    await log.close();
    expect(entries.map(({ key, exitCode }) => [key, exitCode])).toEqual([
      ['first', 0],
      ['second', 3],
      ['third', -1],
    ]);
    expect(entries.map(({ bytes }) => bytes.toString())).toEqual([
      'stdout: one [PASS]\nstdout: partial\n',
      'stderr: [kiln] said by us, [PASS]\n',
      'stderr: late\n',
    ]);
    expect(entries[0]?.command).toEqual(['run', '--password=[PASS]']);
    expect(entries.every(({ durationMs }) => durationMs !== undefined)).toBe(true);
  },
);

test.each([
  [Buffer.from('fine\n'), Buffer.from('stdout: fine\n'), 0],
  [Buffer.from([0xff, 0x0a]), Buffer.concat([Buffer.from('stdout: '), Buffer.from([0xff, 0x0a])]), 1],
])(
  'a command that has ended at once is one call where its output is text: %o',
  async (bytes, stored, appends) => {
    const { client, entries, calls } = fakeInstance({});
    const log = openLog(client);
    const entry = log.begin('step', []);
    void entry.write('stdout', bytes);
    entry.end(0);
    await log.close();
    expect(entries).toMatchObject([{ bytes: stored, exitCode: 0 }]);
    expect(calls()).toBe(appends);
  },
);

test('complete lines leave at once while the command goes on', async () => {
  const { client, entries } = fakeInstance({});
  const log = openLog(client);
  const entry = log.begin('step', []);
  await entry.write('stdout', Buffer.from('line\nunfinished'));
  await expect
    .poll(() => entries[0]?.bytes.toString(), { interval: 5, timeout: 5000 })
    .toBe('stdout: line\n');
  expect(entries[0]?.exitCode).toBeUndefined();
  entry.end(0);
  await log.close();
  expect(entries[0]?.bytes.toString()).toBe('stdout: line\nstdout: unfinished\n');
});

test('an answer that was lost costs and doubles nothing', async () => {
  const { client, entries } = fakeInstance({
    onAppend: (call) => (call % 2 === 1 ? 'answer lost' : undefined),
  });
  const log = openLog(client);
  const entry = log.begin('step', []);
  const lines = Array.from({ length: 20_000 }, (_, index) => `line ${index}`);
  for (const line of lines) await entry.write('stdout', Buffer.from(`${line}\n`));
  entry.end(0);
  await log.close();
  expect(entries[0]?.bytes.toString()).toBe(lines.map((line) => `stdout: ${line}\n`).join(''));
  expect(entries[0]?.exitCode).toBe(0);
});

test('a log that the instance lost a part of says so and goes on', async () => {
  const { client, entries } = fakeInstance({
    onAppend(call, entry) {
      if (call === 2) entry.bytes = entry.bytes.subarray(0, 4);
      return undefined;
    },
  });
  const log = openLog(client);
  const entry = log.begin('step', []);
  await entry.write('stdout', Buffer.from('one\n'));
  await expect.poll(() => entries[0]?.bytes.length, { interval: 5 }).toBe(12);
  await entry.write('stdout', Buffer.from('two\n'));
  entry.end(0);
  await log.close();
  expect(entries[0]?.bytes.toString()).toBe(
    'stdo[kiln] output is missing here: the instance lost a part of this log\nstdout: two\n',
  );
});

test('a writer waits while the instance is behind, within bounded memory', async () => {
  const gate = Promise.withResolvers<undefined>();
  const { client, entries } = fakeInstance({ onAppend: () => gate.promise });
  const log = openLog(client);
  const entry = log.begin('step', []);
  let written = 0;
  const line = Buffer.from(`${'x'.repeat(1023)}\n`);
  const writer = (async () => {
    for (; written < 8 * 1024; written++) await entry.write('stdout', line);
  })();
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(written).toBeLessThan(2.5 * 1024);
  gate.resolve(undefined);
  await writer;
  entry.end(0);
  await log.close();
  expect(entries[0]?.bytes.length).toBe(8 * 1024 * (1024 + 'stdout: '.length));
});

test('once the job is being stopped nobody waits, and what is too much is dropped with a mark', async () => {
  const gate = Promise.withResolvers<undefined>();
  const { client, entries } = fakeInstance({ onAppend: () => gate.promise });
  const stop = new AbortController();
  const log = openLog(client, { stop: stop.signal });
  const entry = log.begin('step', []);
  stop.abort();
  for (let index = 0; index < 4000; index++)
    await entry.write('stdout', Buffer.from(`${'x'.repeat(1023)}\n`));
  entry.end(-1);
  gate.resolve(undefined);
  await log.close();
  const text = entries[0]?.bytes.toString() ?? '';
  expect(text.length).toBeLessThan(3 * 2 ** 20);
  expect(text.endsWith('[kiln] the job was stopped: the rest of this output is not kept\n')).toBe(true);
});

test('past the limit of the job output is dropped with one mark, and later entries still end', async () => {
  const { client, entries } = fakeInstance({});
  const log = openLog(client, { limitBytes: 100 });
  const entry = log.begin('step', []);
  for (let index = 0; index < 50; index++) await entry.write('stdout', Buffer.from('0123456789\n'));
  entry.end(0);
  const later = log.begin('later', []);
  later.end(0);
  await log.close();
  const text = entries[0]?.bytes.toString() ?? '';
  expect(text.match(/\[kiln\]/g)).toHaveLength(1);
  expect(text.length).toBeLessThan(200);
  expect(entries[1]).toMatchObject({ key: 'later', exitCode: 0 });
});

test('a log that is refused fails nothing and blocks nobody', async () => {
  const { client } = fakeInstance({
    onAppend() {
      throw new InstanceError('rejected', 'too much');
    },
  });
  const log = openLog(client);
  const entry = log.begin('step', []);
  for (let index = 0; index < 3000; index++)
    await entry.write('stdout', Buffer.from(`${'x'.repeat(1023)}\n`));
  entry.end(0);
  await log.close();
});

test('an abandoned log ends at once, whatever the instance does', async () => {
  const { client } = fakeInstance({
    onAppend() {
      throw new InstanceError('unreachable', 'away');
    },
  });
  const log = openLog(client);
  await log.begin('step', []).write('stdout', Buffer.from('x\n'));
  await new Promise((resolve) => setTimeout(resolve, 50));
  log.abandon();
  await log.close();
});

test('a plain instance is sent nothing while nothing changes', async () => {
  const { client, calls } = fakeInstance({ append: false });
  const log = openLog(client);
  const entry = log.begin('step', []);
  await entry.write('stdout', Buffer.from('x\n'));
  await new Promise((resolve) => setTimeout(resolve, 2600));
  expect(calls()).toBe(1);
  entry.end(0);
  await log.close();
  expect(calls()).toBe(2);
});
