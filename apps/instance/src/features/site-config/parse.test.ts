import { describe, expect, test } from 'vitest';
import { parseSiteConfig, SiteConfigError } from './parse.ts';

const secret = 'a'.repeat(32);

function mistakesOf(text: string): readonly string[] {
  try {
    parseSiteConfig(text, 'site.jsonc');
  } catch (error) {
    if (error instanceof SiteConfigError) return error.mistakes;
    throw error;
  }
  return [];
}

describe('parseSiteConfig', () => {
  test('allows comments, trailing commas, a byte order mark and nothing at all', () => {
    const values = parseSiteConfig(
      `\uFEFF// who we are
      {
        "externalURL": "https://kiln.example.com/", /* public */
        "executors.accessToken": "${secret}",
        "executors.accessTokens": ["${'b'.repeat(20)}",],
        "executors.requireJobTokens": true,
        "retention.jobsDays": 7,
        "logs.maxBytesPerJob": "64MiB",
      }`,
      'site.jsonc',
    );
    expect(values).toEqual({
      externalURL: 'https://kiln.example.com',
      executorTokens: [secret, 'b'.repeat(20)],
      requireJobTokens: true,
      retention: { jobsDays: 7, auditDays: 365 },
      logs: { maxBytesPerJob: 64 * 1024 ** 2 },
      openIDConnect: undefined,
    });
    expect(parseSiteConfig('', 'site.jsonc')).toEqual({
      externalURL: undefined,
      executorTokens: [],
      requireJobTokens: false,
      retention: { jobsDays: 90, auditDays: 365 },
      logs: { maxBytesPerJob: 2 * 1024 ** 3 },
      openIDConnect: undefined,
    });
  });

  test.each([
    [
      '{\n"executors.acessToken": "x"}',
      '2: unknown key "executors.acessToken": did you mean "executors.accessToken"?',
    ],
    [
      '{"Executors.AccessToken": "x"}',
      '1: unknown key "Executors.AccessToken": did you mean "executors.accessToken"?',
    ],
    [
      '{"executors": {}}',
      '1: unknown key "executors": keys are written in full, such as "executors.accessToken"',
    ],
    [
      '{"somethingElse": 1}',
      expect.stringMatching(/^1: unknown key "somethingElse"; known keys are externalURL, /),
    ],
    ['{"__proto__": {"externalURL": 1}}', expect.stringMatching(/^1: unknown key "__proto__"/)],
    ['{"executors.accessToken":\n\n"short"}', '3: "executors.accessToken": must have at least 20 characters'],
    [
      '{"executors.accessTokens": [\n"short"]}',
      '2: "executors.accessTokens"[0]: must have at least 20 characters',
    ],
    ['{"executors.accessToken": "aaaaaaaaaaaaaaaaaaaa bbb"}', expect.stringContaining('without spaces')],
    ['{"retention.jobsDays": "7"}', expect.stringMatching(/^1: "retention.jobsDays": .*expected number/)],
    ['{"retention.jobsDays": null}', expect.stringMatching(/^1: "retention.jobsDays": .*expected number/)],
    ['{"logs.maxBytesPerJob": "big"}', expect.stringContaining('is not a size such as')],
    ['{"logs.maxBytesPerJob": 10}', '1: "logs.maxBytesPerJob": must be at least 1 MiB'],
    ['{"externalURL": "kiln.example.com"}', expect.stringContaining('must be an http or https URL')],
    ['{"externalURL": "https://u:p@kiln"}', expect.stringContaining('must be an http or https URL')],
    ['{"externalURL": "https://a",\n"externalURL": "https://b"}', '2: "externalURL" is set twice'],
    ['{\n"externalURL" "https://a"}', expect.stringMatching(/^2: not valid JSON here \(colon expected\)/)],
    ['[]', '1: must be an object: {"key": value, ...}'],
  ])('%s', (text, mistake) => {
    expect(mistakesOf(text)[0]).toEqual(mistake);
  });

  test('refuses the word that stands for a hidden secret', () => {
    expect(mistakesOf('{"executors.accessToken": "REDACTED"}')[0]).toContain('write the secret itself');
  });

  test('reports all mistakes, and never a value', () => {
    const mistakes = mistakesOf(
      '{"executors.accessToken": "hunter2",\n "retention.jobsDays": -1, "nope": "hunter3"}',
    );
    expect(mistakes).toHaveLength(3);
    expect(mistakes.join()).not.toMatch(/hunter/);
  });

  test.each([
    ['a nesting', `{"a":${'['.repeat(200_000)}`, 'is nested too deeply'],
    [
      'unknown keys',
      `{${Array.from({ length: 20_000 }, (_, n) => `"k${n}":1`).join(',\n')}}`,
      'unknown key "k0"',
    ],
    ['repeated keys', `{${'"a":1,\n'.repeat(30_000)}}`, '"a" is set twice'],
    ['commas', ','.repeat(250_000), 'not valid JSON here'],
    ['short secrets', `{"executors.accessTokens":[${'"a",\n'.repeat(20_000)}]}`, '"executors.accessTokens"'],
  ])('refuses %s without end with few words', (_, text, mistake) => {
    const mistakes = mistakesOf(text);
    expect(mistakes[0]).toContain(mistake);
    expect(mistakes.join('\n').length).toBeLessThan(10_000);
  });
});
