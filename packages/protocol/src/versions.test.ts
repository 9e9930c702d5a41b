import { describe, expect, it } from 'vitest';
import { readFixture } from './testing/fixtures.ts';
import { compareVersions, compatVersion, InvalidVersionError, readsDocumentV2 } from './versions.ts';

const vectors = readFixture('versions') as {
  documentV2: Record<string, boolean>;
  invalid: string[];
  compatibility: { executor: string; instance: string; is: string | null }[];
};

describe('readsDocumentV2', () => {
  it.each(Object.entries(vectors.documentV2))('%j: %s', (version, reads) => {
    expect(readsDocumentV2(version)).toBe(reads);
  });

  it.each(vectors.invalid)("refuses %j with the reference's text", (version) => {
    expect(() => readsDocumentV2(version)).toThrow(
      new InvalidVersionError(`failed to check version ${JSON.stringify(version)}: Invalid Semantic Version`),
    );
  });

  it('is true of the version that Kiln executors send', () => {
    expect(readsDocumentV2(compatVersion)).toBe(true);
  });
});

describe('compareVersions', () => {
  it.each(vectors.compatibility)(
    'executor $executor, instance $instance: $is',
    ({ executor, instance, is }) => {
      expect(compareVersions(executor, instance)).toBe(is);
    },
  );

  it('names the side whose version it cannot read', () => {
    expect(() => compareVersions('x', '5.0.0')).toThrow(
      'failed to parse executor version "x": Invalid Semantic Version',
    );
    expect(() => compareVersions('5.0.0', 'x')).toThrow(
      'failed to parse sourcegraph version "x": Invalid Semantic Version',
    );
  });
});
