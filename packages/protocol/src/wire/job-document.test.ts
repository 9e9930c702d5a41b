import { describe, expect, it } from 'vitest';
import { documentNames, readDocument } from '../testing/fixtures.ts';
import { emptyDocument } from '../testing/index.ts';
import { type JobDocument, parseJobDocument, renderJobDocument } from './job-document.ts';

describe.each(documentNames)('the document %s', (name) => {
  const wire = readDocument(name);

  it('is written again as it was read', () => {
    const version = wire['version'] === 2 ? 2 : 1;
    expect(renderJobDocument(parseJobDocument(wire), version)).toEqual(wire);
  });

  it('keeps the order of keys that instances send', () => {
    const version = wire['version'] === 2 ? 2 : 1;
    expect(Object.keys(renderJobDocument(parseJobDocument(wire), version))).toEqual(Object.keys(wire));
  });
});

describe('versions 1 and 2 and the oldest shape', () => {
  it('say the same', () => {
    const { dockerAuthConfig, ...two } = parseJobDocument(readDocument('batches-v2'));
    const { dockerAuthConfig: none, ...one } = parseJobDocument(readDocument('batches-v1'));
    expect(one).toEqual(two);
    expect(none).toEqual({});
    expect(dockerAuthConfig).toEqual({ auths: { 'hub.docker.com': { auth: 'aHVudGVyOmh1bnRlcjI=' } } });
    const oldest = parseJobDocument(readDocument('oldest-4.0'));
    expect(oldest.files['input.json']).toEqual({ content: contentOf(two as JobDocument, 'input.json') });
    expect(oldest.files['empty.txt']).toEqual({ content: Buffer.alloc(0) });
  });

  it('carry contents as text in 1 and as base64 in 2', () => {
    const file = { content: 'aGVsbG8=' };
    const read = (version?: number) =>
      contentOf(
        parseJobDocument({ id: 1, files: { f: file }, ...(version === undefined ? {} : { version }) }),
        'f',
      );
    expect(String(read(2))).toBe('hello');
    expect(String(read(1))).toBe('aGVsbG8=');
    expect(String(read(3))).toBe('aGVsbG8=');
    expect(String(read())).toBe('aGVsbG8=');
  });
});

describe('reading', () => {
  it('needs nothing but an id', () => {
    expect(parseJobDocument({ id: 7 })).toEqual({ ...emptyDocument, id: 7, token: '' });
    expect(() => parseJobDocument({})).toThrow();
  });

  it('takes null for every array and object, and any case of keys', () => {
    const document = parseJobDocument({
      ID: 1,
      SparseCheckout: null,
      files: null,
      DOCKERSTEPS: [{ Image: 'alpine', Commands: null, Env: null }],
      cliSteps: [{ command: null, env: null }],
      redactedValues: null,
      dockerAuthConfig: null,
      resources: null,
    });
    expect(document.dockerSteps).toEqual([{ key: '', image: 'alpine', commands: [], dir: '', env: [] }]);
    expect(document.cliSteps).toEqual([{ key: '', command: [], dir: '', env: [] }]);
  });

  it.each([null, {}, { auths: null }, { auths: {} }, { credsStore: 'desktop' }])(
    'finds no credentials in %j',
    (dockerAuthConfig) => {
      const { auths } = parseJobDocument({ id: 1, version: 2, dockerAuthConfig }).dockerAuthConfig;
      expect(Object.keys(auths ?? {})).toEqual([]);
    },
  );

  it('passes over registries without credentials', () => {
    const dockerAuthConfig = {
      auths: { 'a.example': {}, 'b.example': { auth: 'YTpi', email: 'x' }, 'c.example': null },
    };
    expect(parseJobDocument({ id: 1, version: 2, dockerAuthConfig }).dockerAuthConfig).toEqual({
      auths: { 'b.example': { auth: 'YTpi' } },
    });
  });

  it('keeps files that are fetched, and when they changed', () => {
    const { files } = parseJobDocument(readDocument('batches-v2'));
    expect(files['workspace-files/scripts/fix.sh']).toEqual({
      bucket: 'batch-changes',
      key: 'abc/xyz',
      modifiedAt: '2022-10-07T18:55:45.831031-06:00',
    });
    expect(files['input.json']).not.toHaveProperty('modifiedAt');
  });

  it('keeps hostile names as plain data', () => {
    const { files, redactedValues } = parseJobDocument(
      JSON.parse(
        '{"id":1,"files":{"../../etc/passwd":{"content":"x"},"constructor":"y"},"redactedValues":{"constructor":"z"}}',
      ),
    );
    expect(Object.keys(files)).toEqual(['../../etc/passwd', 'constructor']);
    expect(Object.entries(redactedValues)).toEqual([['constructor', 'z']]);
  });

  it('reads and writes the extensions', () => {
    const wire = {
      ...readDocument('minimal-v2'),
      attempt: 3,
      timeoutSeconds: 1800,
      network: 'none',
      resources: { numCPUs: 2, memoryBytes: 1024 },
    };
    expect(renderJobDocument(parseJobDocument(wire), 2)).toEqual(wire);
    expect(() => parseJobDocument({ ...wire, attempt: 0 })).toThrow();
    expect(() => parseJobDocument({ ...wire, queue: 'other' })).toThrow();
  });
});

function contentOf(document: JobDocument, path: string): Uint8Array {
  const file = document.files[path];
  if (file === undefined || !('content' in file)) throw new Error(`${path} has no content`);
  return file.content;
}
