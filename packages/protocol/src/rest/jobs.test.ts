import { describe, expect, it } from 'vitest';
import { submitJobSchema } from './jobs.ts';
import { registerRepositorySchema } from './repositories.ts';

const step = { image: 'alpine:3', run: 'true' };
const mistakesOf = (body: unknown) =>
  submitJobSchema.safeParse(body).error?.issues.map((issue) => issue.path.join('.') || issue.message) ?? [];

describe('a submitted job', () => {
  it('needs steps only', () => {
    expect(submitJobSchema.parse({ steps: [step] })).toEqual({ steps: [step] });
  });

  it('may say everything else', () => {
    const body = {
      steps: [{ ...step, dir: 'a/b', env: { FOO_1: '' }, key: 'build.1' }],
      repository: 'github.com/acme/widgets',
      revision: 'main',
      clone: { depth: 0, tags: true, sparse: ['src/*'] },
      files: { 'a.txt': 'text', 'b.bin': { base64: 'AAE=' } },
      secrets: ['NPM_TOKEN'],
      priority: -100,
      timeout: '30m',
      namespace: 'acme',
      network: 'none',
      resources: { numCPUs: 0.5, memory: '512M', disk: '1G' },
      trace: true,
      queue: 'batches',
    };
    expect(submitJobSchema.parse(body)).toEqual(body);
  });

  it('names every key it does not know, wherever it is', () => {
    const issues = submitJobSchema.safeParse({
      steps: [{ ...step, comands: [] }],
      imagee: 'x',
      repo: 'y',
      resources: { cpu: 1 },
    }).error?.issues;
    expect(issues?.flatMap((issue) => (issue.code === 'unrecognized_keys' ? issue.keys : []))).toEqual(
      expect.arrayContaining(['comands', 'imagee', 'repo', 'cpu']),
    );
  });

  it.each([
    [{}, 'steps'],
    [{ steps: [] }, 'steps'],
    [{ steps: Array(101).fill(step) }, 'steps'],
    [{ steps: [{ image: 'a' }] }, 'steps.0.run'],
    [{ steps: [{ ...step, image: '' }] }, 'steps.0.image'],
    [{ steps: [{ ...step, key: '../x' }] }, 'steps.0.key'],
    [{ steps: [{ ...step, env: { 'A-B': '' } }] }, 'steps.0.env.A-B'],
    [{ steps: [step], priority: 101 }, 'priority'],
    [{ steps: [step], priority: 1.5 }, 'priority'],
    [{ steps: [step], clone: { depth: -1 } }, 'clone.depth'],
    [{ steps: [step], network: 'private' }, 'network'],
    [{ steps: [step], queue: 'other' }, 'queue'],
    [{ steps: [step], resources: { numCPUs: 0 } }, 'resources.numCPUs'],
    [{ steps: [step], files: { a: 1 } }, 'files.a'],
  ])('is refused: %j', (body, path) => {
    expect(mistakesOf(body)).toContain(path);
  });
});

describe('a registered repository', () => {
  it('has a name and a clone URL, and nothing else', () => {
    const body = { name: 'github.com/acme/widgets', cloneURL: 'https://github.com/acme/widgets' };
    expect(registerRepositorySchema.parse(body)).toEqual(body);
    expect(registerRepositorySchema.safeParse({ ...body, url: 'x' }).success).toBe(false);
    expect(registerRepositorySchema.safeParse({ ...body, name: 'a'.repeat(513) }).success).toBe(false);
  });
});
