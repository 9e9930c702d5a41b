import { parseJobDocument, renderJobDocument } from '@kiln/protocol';
import { describe, expect, test } from 'vitest';
import { buildDocument } from './document.ts';
import type { SubmittedJob } from './store.ts';

const job: SubmittedJob = {
  userId: 1,
  jobId: 7,
  repository: 'github.com/acme/widgets',
  revision: 'main',
  commit: 'd34db33fd34db33fd34db33fd34db33fd34db33f',
  spec: {
    steps: [
      { key: 'build', image: 'alpine:3', run: 'make\ntest', dir: 'web', env: { A: '1', B: 'x=y' } },
      { key: null, image: 'node:24', run: 'npm t', dir: '', env: {} },
    ],
    clone: { shallow: true, tags: false, sparse: ['web/*'] },
    trace: false,
    network: null,
    resources: null,
  },
  files: [
    { path: 'note.txt', text: 'ä' },
    { path: 'big.bin', key: 'a/0', bytes: 100_000 },
  ],
  notices: [],
};

const none = { values: new Map<string, string>(), dockerAuth: {} };

describe('buildDocument', () => {
  test('puts the repository at the root of the workspace and makes failing lines fail', () => {
    expect(buildDocument(job, none)).toEqual({
      id: 7,
      token: '',
      repositoryName: 'github.com/acme/widgets',
      repositoryDirectory: '',
      commit: 'd34db33fd34db33fd34db33fd34db33fd34db33f',
      fetchTags: false,
      shallowClone: true,
      sparseCheckout: ['web/*'],
      files: { 'note.txt': { content: Buffer.from('ä') }, 'big.bin': { bucket: 'jobs', key: 'a/0' } },
      dockerSteps: [
        {
          key: 'build',
          image: 'alpine:3',
          commands: ['set -e', 'make\ntest'],
          dir: 'web',
          env: ['A=1', 'B=x=y'],
        },
        { key: '', image: 'node:24', commands: ['set -e', 'npm t'], dir: '', env: [] },
      ],
      cliSteps: [],
      redactedValues: {},
      dockerAuthConfig: {},
    });
  });

  test('carries network, resources and tracing where they were asked for', () => {
    const spec = { ...job.spec, trace: true, network: 'none' as const, resources: { numCPUs: 2 } };
    const document = buildDocument({ ...job, repository: null, commit: null, spec }, none);
    expect(document).toMatchObject({
      repositoryName: '',
      commit: '',
      network: 'none',
      resources: { numCPUs: 2 },
    });
    expect(document.dockerSteps[1]?.commands).toEqual(['set -e', 'set -x', 'npm t']);
  });

  test('gives every step the secrets as variables, tells what masks them, and passes on registry credentials', () => {
    const dockerAuth = { auths: { 'r.example': { auth: 'dTpw' } } };
    const values = new Map([
      ['TOKEN', 'one=1'],
      ['PEM', 'two\nlines'],
    ]);
    const document = buildDocument(job, { values, dockerAuth });
    expect(document.dockerSteps.map((step) => step.env)).toEqual([
      ['A=1', 'B=x=y', 'TOKEN=one=1', 'PEM=two\nlines'],
      ['TOKEN=one=1', 'PEM=two\nlines'],
    ]);
    expect(document.redactedValues).toEqual({
      'one=1': `\${{ secrets.TOKEN }}`,
      'two\nlines': `\${{ secrets.PEM }}`,
    });
    expect(document.dockerAuthConfig).toEqual(dockerAuth);
  });

  test.each([1, 2] as const)('survives the wire as version %i', (version) => {
    const document = buildDocument(job, none);
    const wire: unknown = JSON.parse(JSON.stringify(renderJobDocument(document, version)));
    expect(parseJobDocument(wire)).toEqual(document);
  });
});
