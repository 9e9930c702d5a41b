import type { SubmitJob } from '@kiln/protocol';
import { describe, expect, test } from 'vitest';
import { ApiError } from '../../api-error.ts';
import { checkSubmission } from './submission.ts';

const minimal: SubmitJob = { steps: [{ image: 'alpine:3', run: 'echo hi' }] };

function refusalOf(body: Partial<SubmitJob>): ApiError {
  try {
    checkSubmission({ ...minimal, ...body });
  } catch (error) {
    if (error instanceof ApiError) return error;
    throw error;
  }
  throw new Error('was accepted');
}

describe('checkSubmission', () => {
  test('fills in defaults', () => {
    expect(checkSubmission(minimal)).toEqual({
      spec: {
        steps: [{ key: null, image: 'alpine:3', run: 'echo hi', dir: '', env: {} }],
        clone: { shallow: true, tags: false, sparse: [] },
        trace: false,
        network: null,
        resources: null,
        secrets: [],
      },
      files: new Map(),
      repository: null,
      revision: null,
      namespace: undefined,
      queue: 'jobs',
      priority: 0,
      timeoutSeconds: 1800,
      needsLimits: false,
      notices: [],
    });
  });

  test('reads everything that can be given', () => {
    const checked = checkSubmission({
      steps: [{ key: 'build', image: 'a', run: 'b', dir: './x//y/', env: { FOO: 'two\nlines' } }],
      repository: 'github.com/acme/widgets',
      revision: 'main',
      clone: { depth: 0, tags: true, sparse: ['docs/*'] },
      files: { './a.txt': 'ä', 'b.bin': { base64: '/wA=' } },
      priority: -5,
      timeout: '1h1.5s',
      namespace: 'acme',
      network: 'none',
      resources: { numCPUs: 1.5, memory: '2GiB', disk: '10G' },
      trace: true,
      queue: 'batches',
      secrets: ['TOKEN', 'OTHER', 'TOKEN'],
    });
    expect(checked).toMatchObject({
      spec: {
        steps: [{ key: 'build', image: 'a', run: 'b', dir: 'x/y', env: { FOO: 'two\nlines' } }],
        clone: { shallow: false, tags: true, sparse: ['docs/*'] },
        trace: true,
        secrets: ['TOKEN', 'OTHER'],
        network: 'none',
        resources: { numCPUs: 1.5, memoryBytes: 2 * 1024 ** 3, diskBytes: 10 * 1024 ** 3 },
      },
      priority: -5,
      timeoutSeconds: 3602,
      namespace: 'acme',
      queue: 'batches',
      needsLimits: true,
    });
    expect(checked.files).toEqual(
      new Map([
        ['a.txt', Buffer.from('ä')],
        ['b.bin', Buffer.from([0xff, 0])],
      ]),
    );
    expect(checked.notices).toEqual([expect.stringContaining('"limits"')]);
  });

  test.each<[string, Partial<SubmitJob>]>([
    [
      'timeout: "30" is not a duration such as "30m", "1h15m" or "500ms" (a number needs a unit: "30s" or "30m")',
      { timeout: '30' },
    ],
    ['timeout: must be between 1s and 168h', { timeout: '0s' }],
    ['timeout: must be between 1s and 168h', { timeout: '-5m' }],
    ['timeout: must be between 1s and 168h', { timeout: '1000h' }],
    [
      'resources.memory: "lots" is not a size such as "12G", "512M" or "20GB"',
      { resources: { memory: 'lots' } },
    ],
    ['resources.memory: must be between 16MiB and 16TiB', { resources: { memory: '1K' } }],
    ['resources.disk: must be between 64MiB and 64TiB', { resources: { disk: '100T' } }],
    ['resources.numCPUs: must be at least 0.1', { resources: { numCPUs: 0.01 } }],
    [
      'clone.depth: must be 1 (only the commit) or 0 (the whole history)',
      { repository: 'r', clone: { depth: 2 } },
    ],
    ['revision: needs a "repository"', { revision: 'main' }],
    ['clone: needs a "repository"', { clone: {} }],
    ['clone.sparse[0]: must be one line', { repository: 'r', clone: { sparse: ['a\nb'] } }],
    [
      'steps[0].dir: must be relative to the repository, not absolute',
      { steps: [{ image: 'a', run: 'b', dir: '/x' }] },
    ],
    [
      'steps[0].dir: must not leave the repository ("..")',
      { steps: [{ image: 'a', run: 'b', dir: 'x/../..' }] },
    ],
    ['steps[0].image: "-v" is not the name of a container image', { steps: [{ image: '-v', run: 'b' }] }],
    ['steps[0].image: "a b" is not the name of a container image', { steps: [{ image: 'a b', run: 'b' }] }],
    ['steps[0].run: must not contain a NUL character', { steps: [{ image: 'a', run: 'b\0' }] }],
    [
      'steps[0].env.A: is not valid Unicode text',
      { steps: [{ image: 'a', run: 'b', env: { A: '\udc00' } }] },
    ],
    [
      'steps[1].key: steps 0 and 1 are both called "x" (a step without "key" is called by its index)',
      {
        steps: [
          { image: 'a', run: 'b', key: 'x' },
          { image: 'a', run: 'b', key: 'x' },
        ],
      },
    ],
    [
      'steps[1].key: steps 0 and 1 are both called "1" (a step without "key" is called by its index)',
      {
        steps: [
          { image: 'a', run: 'b', key: '1' },
          { image: 'a', run: 'b' },
        ],
      },
    ],
    ['private path in `files` refused: ".git/config"', { files: { '.git/config': '' } }],
    ['"a" in `files` is given twice', { files: { a: '', './a': '' } }],
    ['files: "a" is not valid Unicode text; send its bytes as {"base64": ...}', { files: { a: '\ud800' } }],
  ])('refuses: %s', (message, body) => {
    expect(refusalOf(body)).toMatchObject({ status: 400, code: 'invalid_job', message });
  });

  test('names all mistakes at once, and not endlessly many', () => {
    expect(refusalOf({ timeout: 'x', revision: 'y', files: { '/z': '' } }).message.split('; ')).toHaveLength(
      3,
    );
    const files = Object.fromEntries(Array.from({ length: 1000 }, (_, index) => [`/${index}`, '']));
    expect(refusalOf({ files }).message).toMatch(/; and 980 more$/);
  });

  test('refuses secrets that a step sets itself, and the one that is never a variable', () => {
    expect(
      refusalOf({
        steps: [{ image: 'a', run: 'b', env: { NPM_TOKEN: 'x' } }],
        secrets: ['NPM_TOKEN', 'DOCKER_AUTH_CONFIG', 'NPM_TOKEN'],
      }),
    ).toMatchObject({
      status: 400,
      code: 'invalid_job',
      message:
        'steps[0].env.NPM_TOKEN: is a secret of the job too; secrets: DOCKER_AUTH_CONFIG applies without being asked for, and is never a variable of steps',
    });
  });
});
