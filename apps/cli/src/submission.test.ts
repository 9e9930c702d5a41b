import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { buildSubmission, commandStep, parseStep, type SubmitOptions } from './submission.ts';

const none: SubmitOptions = { step: [], env: [], put: [], secret: [], sparse: [] };

function build(options: Partial<SubmitOptions>, command: string[] = [], stdin = '', cwd = '/nonexistent') {
  return buildSubmission({ ...none, ...options }, command, {
    env: { HERE: 'from the environment' },
    cwd,
    stdin: Readable.from([stdin]),
  });
}

describe('buildSubmission', () => {
  it('adds options to the job of a file', async () => {
    const file = JSON.stringify({
      steps: [{ image: 'a', run: 'x', env: { B: 'own' } }],
      clone: { depth: 3 },
      unknown: 1,
    });
    expect(
      await build(
        {
          file: '-',
          step: ['b:1.2: echo: hi'],
          env: ['A=1=2', 'HERE'],
          repo: 'r',
          rev: 'v',
          tags: true,
          cpus: 2,
        },
        [],
        file,
      ),
    ).toEqual({
      steps: [
        { image: 'a', run: 'x', env: { A: '1=2', HERE: 'from the environment', B: 'own' } },
        { image: 'b:1.2', run: 'echo: hi', env: { A: '1=2', HERE: 'from the environment' } },
      ],
      clone: { depth: 3, tags: true },
      resources: { numCPUs: 2 },
      repository: 'r',
      revision: 'v',
      unknown: 1,
    });
  });

  it('puts local files into the workspace byte for byte', async () => {
    const directory = await mkdtemp(path.join(tmpdir(), 'kiln-cli-'));
    try {
      await writeFile(path.join(directory, 'local.bin'), Buffer.from([0, 255, 10]));
      const job = await build(
        { step: ['a: b'], put: ['in/there.bin=local.bin', 'local.bin'] },
        [],
        '',
        directory,
      );
      expect(job['files']).toEqual({ 'in/there.bin': { base64: 'AP8K' }, 'local.bin': { base64: 'AP8K' } });
      await expect(build({ step: ['a: b'], put: ['absent'] }, [], '', directory)).rejects.toThrow(
        'cannot read',
      );
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  it.each([
    ['no JSON', 'cannot read a job from standard input'],
    ['[]', 'standard input holds no job'],
    ['{"steps": []}', 'there is nothing to run'],
  ])('refuses %j', async (text, message) => {
    await expect(build({ file: '-' }, [], text)).rejects.toThrow(message);
  });

  it('refuses a variable that is not set', async () => {
    await expect(build({ step: ['a: b'], env: ['ABSENT'] })).rejects.toThrow(
      'names no variable that is set here',
    );
  });
});

it.each(['busybox', 'busybox:latest', 'busybox:echo', ': x', 'image:   '])('parseStep refuses %j', (text) => {
  expect(() => parseStep(text)).toThrow('is not "IMAGE: SCRIPT"');
});

describe('commandStep', () => {
  it('takes one word as a script', () => {
    expect(commandStep('a', ['echo $HOME && ls'])).toEqual([{ image: 'a', run: 'echo $HOME && ls' }]);
  });

  it('quotes several words so that a shell gives them back as they were', async () => {
    const words = fc.array(
      fc.string({ unit: 'grapheme' }).filter((word) => !word.includes('\0')),
      {
        minLength: 1,
        maxLength: 5,
      },
    );
    await fc.assert(
      fc.asyncProperty(words, async (args) => {
        const [step] = commandStep('a', ['printf', '%s\\0', ...args]);
        const { stdout } = await promisify(execFile)('/bin/sh', ['-c', step?.run ?? '']);
        expect(stdout).toBe(args.map((word) => `${word}\0`).join(''));
      }),
      { numRuns: 30 },
    );
  });
});
