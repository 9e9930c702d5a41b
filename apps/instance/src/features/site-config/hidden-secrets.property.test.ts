import { array, assert, boolean, constantFrom, property, string, tuple, uniqueArray } from 'fast-check';
import { expect, test } from 'vitest';
import { hideSecrets, revealSecrets } from './hidden-secrets.ts';
import { parseSiteConfig } from './parse.ts';

/** What a shared secret may be: also what looks like JSON, a comment or a replacement pattern. */
const secret = string({
  unit: constantFrom(...'abc019"\\/*{}[],:$&\'`<>'.split('')),
  minLength: 20,
  maxLength: 40,
});
const comment = constantFrom('', ' // plain\n', ' /* "executors.accessToken": "x", */ ', '\n');

/** Of some secrets, the first one the main one; `escaped` writes every character of them by its number. */
function configOf(secrets: readonly string[], comments: readonly string[], escaped: boolean): string {
  const quote = (text: string) =>
    escaped
      ? `"${[...text].map((c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`).join('')}"`
      : JSON.stringify(text);
  const [first, ...others] = secrets.map(quote);
  const [a = '', b = '', c = ''] = comments;
  return `${a}{${b}"executors.accessToken": ${first},${c}"executors.accessTokens": [${others.join(`,${a}`)}]${b}}${c}`;
}

const config = tuple(
  uniqueArray(secret, { minLength: 1, maxLength: 5 }),
  array(comment, { minLength: 3, maxLength: 3 }),
  boolean(),
);

test('whatever is hidden shows nothing, and comes back in any order of the marks', () => {
  assert(
    property(config, ([secrets, comments, escaped]) => {
      const text = configOf(secrets, comments, escaped);
      const hidden = hideSecrets(text, new Map());
      for (const value of secrets) expect(hidden.text).not.toContain(JSON.stringify(value));
      expect([...hidden.secrets.values()].toSorted()).toEqual(secrets.toSorted());
      expect(parseSiteConfig(revealSecrets(hidden), 'test').executorTokens).toEqual(secrets);
      // Hidden again it is the same, and every line is where it was.
      expect(hideSecrets(hidden.text, hidden.secrets)).toEqual(hidden);
      expect(hidden.text.split('\n')).toHaveLength(text.split('\n').length);

      const marks = [...hidden.text.matchAll(/hidden secret [0-9a-f]{8}/g)].map(([mark]) => mark);
      const moved = configOf(marks.toReversed(), comments, escaped);
      const edited = { text: moved, secrets: hidden.secrets };
      expect(parseSiteConfig(revealSecrets(edited), 'test').executorTokens).toEqual(secrets.toReversed());
    }),
  );
});
