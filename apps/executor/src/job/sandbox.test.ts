import { pino } from 'pino';
import { expect, test } from 'vitest';
import type { JobLog, LogEntry } from '../logs/index.ts';
import type { Runtime, Sandbox, SandboxJob } from '../runtimes/runtime.ts';
import { openSandbox } from './sandbox.ts';

const signal = new AbortController().signal;
const silent = pino({ level: 'silent' });

/** A log that keeps what is written, in order, and which entries were ended. */
function recordingLog() {
  const lines: string[] = [];
  let current: LogEntry | undefined;
  const begin: JobLog['begin'] = (key) => {
    lines.push(`begin ${key}`);
    const entry: LogEntry = {
      write: async () => undefined,
      note: (line) => lines.push(`${key}: ${line}`),
      end(exitCode) {
        lines.push(`end ${key} ${exitCode}`);
        if (current === entry) current = undefined;
      },
    };
    current = entry;
    return entry;
  };
  return { lines, log: { begin, current: () => current } as JobLog };
}

/** A runtime with one sandbox, whose closing and disposing are told and end when the test says. */
function fakeRuntime(more: { close: boolean; create?: (job: SandboxJob) => void }) {
  const told: string[] = [];
  const closed = Promise.withResolvers<void>();
  const disposed = Promise.withResolvers<void>();
  const sandbox = {
    ...(more.close
      ? {
          close() {
            told.push('close');
            return closed.promise;
          },
        }
      : {}),
    [Symbol.asyncDispose]() {
      told.push('dispose');
      return disposed.promise;
    },
  } as Sandbox;
  const runtime = {
    name: 'docker',
    create: async (job: SandboxJob) => {
      more.create?.(job);
      return sandbox;
    },
  } as unknown as Runtime;
  return { runtime, told, closed, disposed };
}

function open(runtime: Runtime, log: JobLog, later: Promise<void>[] = [], notices: string[] = []) {
  const job = { id: 1 } as Omit<SandboxJob, 'notice'>;
  return openSandbox(runtime, job, notices, log, silent, signal, (work) => later.push(work));
}

test('when nothing runs any more the job goes on, and what is left is removed meanwhile', async () => {
  const { log, lines } = recordingLog();
  const { runtime, told, closed, disposed } = fakeRuntime({ close: true });
  const later: Promise<void>[] = [];
  const opened = await open(runtime, log, later);
  const disposing = opened[Symbol.asyncDispose]();
  expect(told).toEqual(['close']);
  closed.resolve();
  await disposing;
  expect(told).toEqual(['close', 'dispose']);
  expect(lines).toEqual(['begin teardown.docker.remove', 'end teardown.docker.remove 0']);
  disposed.reject(new Error('the daemon is gone'));
  // The job has its outcome: the executor's log has the rest.
  await Promise.all(later);
  expect(later).toHaveLength(1);
});

test('a runtime that does all at once is waited for', async () => {
  const { log, lines } = recordingLog();
  const { runtime, told, disposed } = fakeRuntime({ close: false });
  const later: Promise<void>[] = [];
  const opened = await open(runtime, log, later);
  disposed.reject(new Error('the process does not end'));
  await opened[Symbol.asyncDispose]();
  expect(told).toEqual(['dispose']);
  expect(later).toEqual([]);
  expect(lines).toEqual([
    'begin teardown.docker.remove',
    'teardown.docker.remove: the process does not end',
    'end teardown.docker.remove 1',
  ]);
});

test('what the runtime says goes into the entry that is open, or into one that is ended', async () => {
  const { log, lines } = recordingLog();
  const said: SandboxJob['notice'][] = [];
  const { runtime } = fakeRuntime({
    close: true,
    create(job) {
      said.push(job.notice);
      job.notice('while it is made');
    },
  });
  await open(runtime, log, [], ['before']);
  said[0]?.('between two steps');
  const step = log.begin('step.docker.0', []);
  said[0]?.('during a step');
  step.end(0);
  expect(lines).toEqual([
    'begin setup.docker.start',
    'setup.docker.start: before',
    'setup.docker.start: while it is made',
    'end setup.docker.start 0',
    'begin setup.docker.start',
    'setup.docker.start: between two steps',
    'end setup.docker.start 0',
    'begin step.docker.0',
    'step.docker.0: during a step',
    'end step.docker.0 0',
  ]);
});
