import { describe, expect, test } from 'vitest';
import { setKey, unsetKey } from './edit-text.ts';
import { parseSiteConfig } from './parse.ts';

const text = `// top
{
  // of a
  "externalURL": "https://a.example.com", // tail
  /* of b */
  "retention.jobsDays": 7,
}
`;

describe('setKey', () => {
  test('changes and adds, and leaves comments and order as they are', () => {
    const changed = setKey(text, 'retention.jobsDays', 8);
    expect(changed).toBe(text.replace('7', '8'));
    expect(setKey(changed, 'retention.auditDays', 9)).toBe(
      changed.replace('8,\n', '8,\n  "retention.auditDays": 9,\n'),
    );
    expect(setKey(text.replaceAll('\n', '\r\n'), 'retention.auditDays', 9)).not.toMatch(/[^\r]\n/);
  });

  test.each(['', '{}', '// nothing yet\n', '/* nothing */ {\n}\n'])('works on %j', (empty) => {
    const set = setKey(empty, 'executors.accessTokens', ['a'.repeat(20)]);
    expect(parseSiteConfig(set, 'test').executorTokens).toEqual(['a'.repeat(20)]);
    expect(set).toContain(empty.includes('nothing') ? 'nothing' : '');
  });
});

describe('unsetKey', () => {
  test('takes the line out, and no comment', () => {
    expect(unsetKey(text, 'retention.jobsDays')).toBe(text.replace('  "retention.jobsDays": 7,\n', ''));
    expect(unsetKey(text, 'externalURL')).toBe(text.replace('"externalURL": "https://a.example.com",', ''));
    expect(unsetKey(text, 'retention.auditDays')).toBe(text);
    expect(unsetKey('', 'retention.auditDays')).toBe('');
  });

  test.each([
    ['{"a": 1}', '{}'],
    ['{"a": 1,}', '{}'],
    ['{"a": [1, 2], "b": 2}', '{ "b": 2}'],
    ['{"b": [1, 2], "a": 1}', '{"b": [1, 2] }'],
    ['{"b": 1, "a": 1,}', '{"b": 1, }'],
    ['{"b": 1 /*,*/, "a": 1}', '{"b": 1 /*,*/ }'],
    ['{\n  "b": 1,\n  "a": 1\n}\n', '{\n  "b": 1\n}\n'],
    ['{\n  "a": 1, // ,\n  "b": 1\n}', '{\n   // ,\n  "b": 1\n}'],
  ])('of %j leaves %j', (before, after) => {
    expect(unsetKey(before, 'a')).toBe(after);
  });
});
