import { describe, expect, it } from 'vitest';
import { buildAutomaton } from './automaton.ts';
import { patternsOfSecrets } from './patterns.ts';
import { createRedactor } from './redactor.ts';
import { benignCorpus, typicalSecrets } from './testing/index.ts';
import { createRandom } from './testing/random.ts';

describe('over-masking', () => {
  it('touches at most 0.01 % of 50 MB of benign text', () => {
    const corpus = benignCorpus(50_000_000);
    const secrets = typicalSecrets(50);
    const stream = createRedactor(new Map(secrets.map((value) => [value, '']))).stream();
    let shown = 0;
    for (let at = 0; at < corpus.length; at += 65_536) {
      shown += stream.write(corpus.subarray(at, at + 65_536)).length;
    }
    shown += stream.flush().length;
    expect((corpus.length - shown) / corpus.length).toBeLessThanOrEqual(0.0001);
  }, 60_000);
});

describe('many long values', () => {
  const characters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_.,:;!"&<>';
  const random = createRandom(7);
  const value = (length: number) => random.text(length, characters);

  it('stay within the stated memory', () => {
    const values = Array.from({ length: 100 }, () => value(4096));
    const automaton = buildAutomaton(patternsOfSecrets(values));
    expect(automaton.states).toBeLessThanOrEqual(2 ** 20 + 1);
    expect(automaton.table.byteLength).toBeLessThanOrEqual(8 * 1024 * 1024);
  }, 60_000);

  it('are masked as a whole, in every form, wrapped or not', () => {
    const values = Array.from({ length: 5 }, () => value(65_536));
    const redactor = createRedactor(new Map(values.map((value, index) => [value, `<${index}>`])));
    const secret = values[3] ?? '';
    const base64 = Buffer.from(`user:${secret}`).toString('base64');
    expect(redactor.redactText(`a ${secret}\nb`)).toBe('a <3>\nb');
    expect(redactor.redactText(`a ${Buffer.from(secret).toString('hex')} b`)).toBe('a <3> b');
    expect(redactor.redactText(`a ${base64} b`)).toBe('a dXNlcj<3> b');
    const wrapped = redactor.redactText(base64.replace(/.{76}/g, '$&\n'));
    expect(
      wrapped
        .split('\n')
        .slice(1)
        .every((line) => /^(<3>)?$/.test(line)),
    ).toBe(true);
    const text = Buffer.from(`${base64.replace(/.{76}/g, '$&\n')} and ${secret}\nend`);
    const stream = redactor.stream();
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < text.length; at += 1013) {
      pieces.push(Uint8Array.from(stream.write(text.subarray(at, at + 1013))));
    }
    const shown = Buffer.concat([...pieces, stream.flush()]).toString();
    expect(shown).toBe(redactor.redactText(text.toString()));
    expect(shown.endsWith(' and <3>\nend')).toBe(true);
  }, 60_000);

  it('that repeat themselves cost no more time', () => {
    const values = Array.from({ length: 20 }, (_, index) => 'ab'.repeat(20_000 + index));
    const redactor = createRedactor(new Map(values.map((value) => [value, 'X'])));
    const stream = redactor.stream();
    const begun = performance.now();
    for (let turn = 0; turn < 16; turn++) stream.write(Buffer.from('ab'.repeat(8192)));
    stream.flush();
    // Quadratic work would take minutes.
    expect(performance.now() - begun).toBeLessThan(10_000);
  }, 60_000);
});
