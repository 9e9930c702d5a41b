import { expect, test } from 'vitest';
import { InstanceError } from '../client/index.ts';
import { SandboxError } from '../runtimes/runtime.ts';
import { UnsafePathError } from '../workspace/index.ts';
import { endOf, HopelessError, StepFailedError } from './failure.ts';
import { sandboxLimits, timeLimitSeconds } from './limits.ts';
import { JobStop, type JobStopKind } from './stop.ts';

const stage = 'running command "step.docker.0"';
const running = new AbortController().signal;

function stopped(kind: JobStopKind): AbortSignal {
  return AbortSignal.abort(new JobStop(kind));
}

test.each([
  [
    new StepFailedError('command failed with exit code 2'),
    'markErrored',
    `${stage}: command failed with exit code 2`,
  ],
  [new UnsafePathError('the path is absolute'), 'markFailed', `${stage}: the path is absolute`],
  [new HopelessError('never'), 'markFailed', `${stage}: never`],
  [new SandboxError('no image', { infrastructure: false }), 'markErrored', `${stage}: no image`],
  [
    Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' }),
    'markErrored',
    `${stage}: the disk of the executor is full`,
  ],
])('%o', (error, kind, message) => {
  expect(endOf(error, stage, running, 1800, true)).toEqual({ kind, message });
});

test('a broken runtime gives the job back, unless a step has already run', () => {
  const error = new SandboxError('the daemon is gone', { infrastructure: true });
  expect(endOf(error, stage, running, 0, false)).toMatchObject({ kind: 'release', reason: 'infrastructure' });
  expect(endOf(error, stage, running, 0, true)).toMatchObject({ kind: 'markErrored', infrastructure: true });
});

test('a runtime that breaks while the first step runs errors the job: the step may have had effects', () => {
  const error = new SandboxError('the daemon is gone', { infrastructure: true, stepBegun: true });
  expect(endOf(error, stage, running, 0, false)).toEqual({
    kind: 'markErrored',
    message: `${stage}: the daemon is gone`,
    infrastructure: true,
  });
});

test('a stop decides, whatever error it caused', () => {
  const error = new Error('aborted');
  expect(endOf(error, stage, stopped('lost'), 0, true)).toEqual({ kind: 'lost' });
  expect(endOf(error, stage, stopped('cancel'), 0, true)).toEqual({
    kind: 'markFailed',
    message: `${stage}: canceled`,
  });
  expect(endOf(error, stage, stopped('shutdown'), 0, true)).toMatchObject({
    kind: 'release',
    reason: 'shutdown',
  });
  expect(endOf(error, stage, stopped('timeout'), 1800, true)).toEqual({
    kind: 'markErrored',
    message: `job exceeded maximum execution time of 30m0s: ${stage}`,
  });
});

test('a job that the instance has given to another attempt is lost', () => {
  expect(endOf(new InstanceError('stale', 'stale attempt'), stage, running, 0, true)).toEqual({
    kind: 'lost',
  });
});

const document = { timeoutSeconds: 60, resources: { numCPUs: 8, memoryBytes: 2 ** 30 } } as const;

test('the shorter time limit wins', () => {
  const job = document as unknown as Parameters<typeof timeLimitSeconds>[0];
  expect(timeLimitSeconds(job, 1800)).toBe(60);
  expect(timeLimitSeconds(job, 30)).toBe(30);
  expect(timeLimitSeconds(job, 0)).toBe(60);
  expect(timeLimitSeconds({ ...job, timeoutSeconds: 0 }, 0)).toBe(0);
});

test('a job gets at most what the executor gives, and is told so', () => {
  const job = document as unknown as Parameters<typeof sandboxLimits>[0];
  const executor = { numCPUs: 4, memoryBytes: 0, diskBytes: 20 * 2 ** 30 };
  expect(sandboxLimits(job, executor)).toEqual({
    limits: { numCPUs: 4, memoryBytes: 2 ** 30, diskBytes: 20 * 2 ** 30 },
    notices: ['the job asks for 8 CPUs; this executor gives 4 CPUs'],
  });
});
