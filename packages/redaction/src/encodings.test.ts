import { describe, expect, it } from 'vitest';
import { createRedactor } from './redactor.ts';

const redactor = (secret: string) => createRedactor(new Map([[secret, 'X']]));
const odd = `pa"ss'wo/rd & <b>\\ $x\`é😀`;

// Written out by hand, or by the very programs: not by the code under test.
const written: Record<string, [secret: string, forms: string[]]> = {
  hex: ['secret-value', ['7365637265742d76616c7565', '7365637265742D76616C7565']],
  URL: [
    'a/b c+d&e=~f*(g)',
    [
      'a%2Fb%20c%2Bd%26e%3D~f*(g)',
      'a%2fb%20c%2bd%26e%3d~f*(g)',
      'a%2Fb+c%2Bd%26e%3D~f%2A%28g%29',
      'a/b%20c%2Bd%26e%3D~f%2A%28g%29',
      'a%2Fb+c%2Bd%26e%3D%7Ef*%28g%29',
    ],
  ],
  JSON: [
    'a"b\\c/d<e>\u00e9\u{1f600}\n!',
    [
      'a\\"b\\\\c/d<e>é😀\\n!',
      'a\\"b\\\\c/d\\u003ce\\u003eé😀\\n!',
      'a\\"b\\\\c/d<e>\\u00e9\\ud83d\\ude00\\n!',
      'a\\"b\\\\c\\/d<e>\\u00e9\\ud83d\\ude00\\n!',
      'a\\u0022b\\\\c/d\\u003Ce\\u003E\\u00E9\\uD83D\\uDE00\\n!',
      'a\\\\\\"b\\\\\\\\c/d<e>é😀\\\\n!',
    ],
  ],
  markup: [
    `<a href="x">it's & more</a>`,
    [
      `&lt;a href="x"&gt;it's &amp; more&lt;/a&gt;`,
      '&lt;a href=&quot;x&quot;&gt;it&#39;s &amp; more&lt;/a&gt;',
      '&lt;a href=&quot;x&quot;&gt;it&apos;s &amp; more&lt;/a&gt;',
      '&lt;a href=&#34;x&#34;&gt;it&#39;s &amp; more&lt;/a&gt;',
      '&lt;a href=&quot;x&quot;&gt;it&#x27;s &amp; more&lt;/a&gt;',
    ],
  ],
  shell: [
    `it's a $dollar "q"\\`,
    [
      `'it'\\''s a $dollar "q"\\'`.slice(1, -1),
      `'it'"'"'s a $dollar "q"\\'`.slice(1, -1),
      `it's a \\$dollar \\"q\\"\\\\`,
      `it\\'s\\ a\\ \\$dollar\\ \\"q\\"\\\\`,
    ],
  ],
  reversed: ['secret-é', ['é-terces']],
};

describe.each(Object.entries(written))('%s', (_, [secret, forms]) => {
  it.each(forms)('masks %s', (form) => {
    expect(redactor(secret).redactText(`a ${form} b`)).toBe('a X b');
  });
});

describe('base64', { timeout: 60_000 }, () => {
  const secrets = ['secret', 'secret-value', '>>>???>>>???', odd];
  const contexts = ['', 'a', 'ab', 'abc', 'user:'];

  it.each(secrets)('tells nothing of %s, wherever it begins and ends', (secret) => {
    for (const before of contexts) {
      for (const after of contexts) {
        for (const encoding of ['base64', 'base64url'] as const) {
          const plain = Buffer.from(before + secret + after);
          const other = Buffer.from(before + '\x01'.repeat(Buffer.byteLength(secret)) + after);
          // What is shown is the same as for another value of that length, so it holds not one bit of it.
          const shown = redactor(secret).redactText(` ${plain.toString(encoding)} `);
          const otherShown = redactor('\x01'.repeat(Buffer.byteLength(secret))).redactText(
            ` ${other.toString(encoding)} `,
          );
          expect(shown).toContain('X');
          expect(shown).toBe(otherShown);
        }
      }
    }
  });

  it('masks no more than a character on either side, and the padding', () => {
    expect(redactor('secret-value').redactText('dXNlcjpzZWNyZXQtdmFsdWU=')).toBe('dXNlcjX');
    expect(redactor('secret-value').redactText('c2VjcmV0LXZhbHVlAAAA')).toBe('XAAA');
  });

  it.each([
    ['64', 64, '\n'],
    ['76', 76, '\r\n'],
    ['76, indented', 76, '\n    '],
    ['60', 60, '\n'],
  ])('is found in text wrapped at %s', (_, columns, lineEnd) => {
    const secret = 'a-rather-long-secret-value-of-some-fifty-characters';
    for (let offset = 0; offset < 80; offset++) {
      const encoded = Buffer.from('.'.repeat(offset) + secret + '.'.repeat(100)).toString('base64');
      const other = Buffer.from('.'.repeat(offset) + secret.toUpperCase() + '.'.repeat(100)).toString(
        'base64',
      );
      const shown = redactor(secret)
        .redactText(wrap(encoded, columns, lineEnd))
        .replaceAll(/\s/g, '');
      const differing = [...encoded].flatMap((character, index) =>
        character === other[index] ? [] : [index],
      );
      const value = encoded.slice(differing[0], (differing.at(-1) ?? 0) + 1);
      expect(longestCommon(shown, value)).toBeLessThan(8);
    }
  });
});

it('masks hex that is wrapped', () => {
  const secret = 'a-rather-long-secret-value-of-some-fifty-characters';
  const hex = Buffer.from(`before ${secret} after`).toString('hex');
  expect(
    redactor(secret)
      .redactText(wrap(hex, 60, '\n'))
      .split('\n'),
  ).toEqual(['6265666f726520X', 'X2061', '66746572']);
});

function wrap(text: string, columns: number, lineEnd: string): string {
  return (text.match(new RegExp(`.{1,${columns}}`, 'g')) ?? []).join(lineEnd);
}

/** Length of the longest piece of `value` that can be read in `shown`. */
function longestCommon(shown: string, value: string): number {
  let longest = 0;
  for (let start = 0; start < value.length; start++) {
    while (shown.includes(value.slice(start, start + longest + 1)) && start + longest < value.length)
      longest++;
  }
  return longest;
}
