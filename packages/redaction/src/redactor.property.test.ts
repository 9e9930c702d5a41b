import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRedactor } from './redactor.ts';

// Encoders of the platform, not those under test.
const encoders: Readonly<Record<string, (value: string) => string>> = {
  raw: (value) => value,
  base64: (value) => Buffer.from(value).toString('base64'),
  base64After1: (value) => Buffer.from(`a${value}`).toString('base64'),
  base64After2: (value) => Buffer.from(`ab${value}zz`).toString('base64'),
  base64url: (value) => Buffer.from(`:${value}:`).toString('base64url'),
  hex: (value) => Buffer.from(value).toString('hex'),
  hexUpper: (value) => Buffer.from(value).toString('hex').toUpperCase(),
  component: (value) => encodeURIComponent(value),
  form: (value) => new URLSearchParams({ '': value }).toString().slice(1),
  json: (value) => JSON.stringify(value).slice(1, -1),
  jsonInJson: (value) => JSON.stringify(JSON.stringify(value)).slice(3, -3),
  html: (value) =>
    value.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;'),
  singleQuoted: (value) => value.replaceAll("'", "'\\''"),
  reversed: (value) => [...value].reverse().join(''),
};
const encoderName = fc.constantFrom(...Object.keys(encoders));

const character = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...'abcdefABCDEF0123456789') },
  { weight: 3, arbitrary: fc.constantFrom(...`!"#$%&'()*+,-./:;<=>?@[\\]^_{|}~\``) },
  { weight: 1, arbitrary: fc.constantFrom(' ', 'é', '😀', '\t') },
);
const line = fc
  .array(character, { minLength: 8, maxLength: 40 })
  .map((characters) => characters.join('').trim())
  .filter((value) => Buffer.byteLength(value) >= 6);
const secret = fc.oneof(
  { weight: 4, arbitrary: line },
  { weight: 1, arbitrary: fc.array(line, { minLength: 2, maxLength: 3 }).map((lines) => lines.join('\n')) },
);
const benign = fc.constantFrom('', ' ', 'log: ', '\n', 'key=', 'zzzz\n', '\r\n', '"', '(', 'Q ', '=');
const scene = fc.record({
  secrets: fc.uniqueArray(secret, { minLength: 1, maxLength: 5 }),
  words: fc.array(fc.record({ before: benign, which: fc.nat(4), encoder: encoderName }), { maxLength: 6 }),
  cuts: fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 20 }),
});

describe('any secrets in any encodings', { timeout: 60_000 }, () => {
  it('leave nothing of themselves, however the bytes are cut', () => {
    fc.assert(
      fc.property(scene, ({ secrets, words, cuts }) => {
        const redactor = createRedactor(new Map(secrets.map((value) => [value, '*'])));
        const forms = words.map(({ which, encoder }) =>
          encode(encoder, secrets[which % secrets.length] ?? ''),
        );
        const text = words.map(({ before }, index) => `${before}${forms[index]}`).join('');
        const whole = redactor.redactText(text);
        for (const form of forms) for (const piece of form.split('\n')) expect(whole).not.toContain(piece);
        expect(redactInPieces(redactor.stream(), text, cuts)).toBe(whole);
        expect(redactor.redactText(whole)).toBe(whole);
      }),
      { numRuns: 150 },
    );
  });

  it('never hold back a complete line', () => {
    fc.assert(
      fc.property(scene, ({ secrets, words }) => {
        const redactor = createRedactor(new Map(secrets.map((value) => [value, '*'])));
        const text = words
          .map(({ before, which, encoder }) => {
            const form = encode(encoder, secrets[which % secrets.length] ?? '');
            return `${before}${form.slice(0, which * 5)}\n`;
          })
          .join('');
        const stream = redactor.stream();
        const shown = Buffer.from(stream.write(Buffer.from(text))).toString();
        expect(shown.split('\n').length).toBe(text.split('\n').length);
        expect(shown === '' || shown.endsWith('\n')).toBe(true);
        expect(stream.flush()).toHaveLength(0);
      }),
      { numRuns: 100 },
    );
  });

  it('say not one bit of themselves in base64', () => {
    const value = fc.string({ unit: fc.constantFrom(...'abcXYZ019-_/+ÿ'), minLength: 8, maxLength: 8 });
    const context = fc.string({ unit: fc.constantFrom(...'.,:'), maxLength: 4 });
    const pair = fc
      .tuple(value, value)
      .filter(([one, two]) => Buffer.byteLength(one) === Buffer.byteLength(two));
    fc.assert(
      fc.property(pair, context, context, fc.boolean(), ([one, two], before, after, url) => {
        const shown = [one, two].map((password) => {
          const encoded = Buffer.from(`${before}${password}${after}`).toString(url ? 'base64url' : 'base64');
          return createRedactor(new Map([[password, '*']])).redactText(`Basic ${encoded}\n`);
        });
        expect(shown[0]).toBe(shown[1]);
      }),
      { numRuns: 150 },
    );
  });
});

describe('values that repeat themselves and hold one another', { timeout: 60_000 }, () => {
  const value = fc.oneof(
    fc.string({ unit: fc.constantFrom('a', 'b', ' ', '\n', '='), minLength: 1, maxLength: 14 }),
    fc.integer({ min: 1, max: 100 }).map((count) => 'ab'.repeat(count)),
    fc.integer({ min: 1, max: 40 }).map((count) => '61'.repeat(count)),
    fc.integer({ min: 1, max: 40 }).map((count) => 'YWFh'.repeat(count)),
  );
  const base64 = value.map((secret) => Buffer.from(secret).toString('base64'));
  const wrapped = base64.map((encoded) => encoded.replace(/.{7}/g, '$&\n'));
  const noise = fc.string({ unit: fc.constantFrom(...'ab \n\r=61YWFh'), maxLength: 20 });
  const text = fc
    .array(fc.oneof(value, base64, wrapped, noise), { maxLength: 8 })
    .map((parts) => parts.join(''));
  const cuts = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 9 });

  it('are masked the same however the bytes are cut', () => {
    fc.assert(
      fc.property(fc.array(value, { minLength: 1, maxLength: 5 }), text, cuts, (secrets, log, sizes) => {
        const redactor = createRedactor(new Map(secrets.map((secret, index) => [secret, `<${index}>`])));
        const whole = redactor.redactText(log);
        for (const secret of secrets.map((text) => text.trim())) {
          if (secret.length >= 6 && !secret.includes('\n')) expect(whole).not.toContain(secret);
        }
        expect(redactInPieces(redactor.stream(), log, sizes)).toBe(whole);
      }),
      { numRuns: 200 },
    );
  });
});

function encode(encoder: string, value: string): string {
  return encoders[encoder]?.(value) ?? '';
}

function redactInPieces(
  stream: ReturnType<ReturnType<typeof createRedactor>['stream']>,
  text: string,
  cuts: readonly number[],
): string {
  const bytes = Buffer.from(text);
  const shown: Uint8Array[] = [];
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const end = at + (cuts[turn % cuts.length] ?? 1);
    shown.push(Buffer.from(stream.write(bytes.subarray(at, end))));
    at = end;
  }
  return Buffer.concat([...shown, stream.flush()]).toString();
}
