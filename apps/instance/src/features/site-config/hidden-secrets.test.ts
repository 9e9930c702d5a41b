import { describe, expect, test } from 'vitest';
import { type HiddenConfig, hideSecrets, revealSecrets } from './hidden-secrets.ts';
import { parseSiteConfig, SiteConfigError } from './parse.ts';

const [one, two, three] = ['one', 'two', 'three'].map((name) => `${name}-`.repeat(8)) as [
  string,
  string,
  string,
];
const source = `// who we are: "${one}" is ours
{
  "externalURL": "https://kiln.example.com", // not a secret
  "executors.accessToken": "${one}",
  /* those that go */
  "executors.accessTokens": ["${two}", "${three}",],
}
`;

const before = hideSecrets(source, new Map());
const markOf = (secret: string): string => {
  const [id] = [...before.secrets].find(([, value]) => value === secret) ?? [];
  return `hidden secret ${id}`;
};

/** What an edit of the hidden text comes to: the secrets that executors may use then, and what is shown. */
function edit(change: (text: string) => string): { tokens: readonly string[]; shown: HiddenConfig } {
  const edited = { text: change(before.text), secrets: before.secrets };
  const { executorTokens } = parseSiteConfig(revealSecrets(edited), 'test');
  return { tokens: executorTokens, shown: hideSecrets(edited.text, edited.secrets) };
}

function mistakesOf(change: (text: string) => string): readonly string[] {
  try {
    edit(change);
  } catch (error) {
    if (error instanceof SiteConfigError) return error.mistakes;
    throw error;
  }
  return [];
}

describe('a text with hidden secrets', () => {
  test('differs from the text in the secrets only, those in comments too', () => {
    expect(before.text).toBe(
      source.replaceAll(one, markOf(one)).replace(two, markOf(two)).replace(three, markOf(three)),
    );
    expect([...before.secrets.values()]).toEqual([one, two, three]);
  });

  test('comes back as it was when nothing was edited', () => {
    expect(edit((text) => text)).toEqual({ tokens: [one, two, three], shown: before });
  });

  test('hides a secret however it is escaped', () => {
    const escaped = `{"executors.accessToken": "\\u006fne-${one.slice(4)}"}`;
    const hidden = hideSecrets(escaped, new Map());
    expect(hidden.text).toMatch(/^\{"executors.accessToken": "hidden secret [0-9a-f]{8}"\}$/);
    expect([...hidden.secrets.values()]).toEqual([one]);
  });

  test('of nothing, or of comments, is itself', () => {
    for (const text of ['', '// nothing\n', '{}']) expect(hideSecrets(text, new Map()).text).toBe(text);
  });
});

describe('in an edited text', () => {
  test('a secret may move to another key, as at the end of a rotation', () => {
    const { tokens, shown } = edit((text) =>
      text
        .replace(/^.*\n/, '')
        .replace(markOf(one), markOf(two))
        .replace(`["${markOf(two)}", `, '['),
    );
    expect(tokens).toEqual([two, three]);
    expect([...shown.secrets.values()].toSorted()).toEqual([three, two].toSorted());
    expect(JSON.stringify([shown.text, ...shown.secrets])).not.toContain(one);
  });

  test('secrets may change their order', () => {
    const { tokens, shown } = edit((text) =>
      text.replace(`"${markOf(two)}", "${markOf(three)}"`, `"${markOf(three)}", "${markOf(two)}"`),
    );
    expect(tokens).toEqual([one, three, two]);
    expect(shown.secrets).toEqual(before.secrets);
  });

  test('a secret may go', () => {
    const { tokens, shown } = edit((text) => text.replace(`"${markOf(two)}", `, ''));
    expect(tokens).toEqual([one, three]);
    expect([...shown.secrets.values()]).toEqual([one, three]);
  });

  test('a secret may be replaced, which shows in the text, and the old one is hidden where comments still have it', () => {
    const { tokens, shown } = edit((text) => text.replace(`"${markOf(three)}"`, '"four-four-four-four-"'));
    expect(tokens).toEqual([one, two, 'four-four-four-four-']);
    expect(shown.text).not.toContain('four');
    expect(shown.text).not.toContain(markOf(three));
    const commented = edit((text) =>
      text.replace('/* those that go */', `// ${three}`).replace(`, "${markOf(three)}",`, ''),
    );
    expect(commented.shown.text).toContain(`// ${markOf(three)}\n`);
  });

  test('a secret that is written out again is the same one', () => {
    expect(edit((text) => text.replace(markOf(two), two)).shown).toEqual(before);
  });

  test('a secret that is commented out can come back', () => {
    const without = edit((text) => text.replace('"executors.accessToken"', '// "executors.accessToken"'));
    expect(without.tokens).toEqual([two, three]);
    const again = { ...without.shown, text: without.shown.text.replace('// "exec', '"exec') };
    expect(parseSiteConfig(revealSecrets(again), 'test').executorTokens).toEqual([one, two, three]);
  });

  test.each<[string, (text: string) => string, string]>([
    [
      'the word that others put in place of secrets',
      (text) => text.replaceAll(/"hidden secret [0-9a-f]{8}"/g, '"REDACTED"'),
      '4: "executors.accessToken": is the word REDACTED',
    ],
    [
      'a mark that stands for nothing',
      (text) => text.replaceAll(/hidden secret [0-9a-f]{8}/g, 'hidden secret 00000000'),
      '4: "executors.accessToken": stands for a hidden secret that is not in the version before',
    ],
    [
      'a mark where no secret belongs',
      (text) => text.replace('https://kiln.example.com', markOf(one)),
      '3: "externalURL": must be an http or https URL',
    ],
    [
      'a mark under a misspelt key',
      (text) => text.replace('"executors.accessToken"', '"executors.acessToken"'),
      '4: unknown key "executors.acessToken": did you mean "executors.accessToken"?',
    ],
  ])('%s is refused', (_, change, mistake) => {
    const mistakes = mistakesOf(change);
    expect(mistakes[0]).toContain(mistake);
    for (const secret of [one, two, three]) expect(mistakes.join()).not.toContain(secret);
  });
});
