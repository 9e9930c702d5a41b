import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JsonSplitter, MalformedJson, maxDepth, RestTooLarge } from './json-splitter.ts';

/** Splits `body` as it arrives in pieces of the given lengths (repeated as needed). */
function split(body: Buffer, lengths: number[], maxRestBytes = 1_000_000): { out: Buffer; rest: unknown } {
  let written: Buffer[] = [];
  const sink = {
    write: (bytes: Buffer) => void written.push(bytes),
    reset: () => {
      written = [];
    },
  };
  const splitter = new JsonSplitter({ key: 'out', sink, maxRestBytes });
  for (let at = 0, turn = 0; at < body.length; turn++) {
    const length = lengths[turn % lengths.length] ?? 1;
    splitter.push(Buffer.from(body.subarray(at, at + length)));
    at += length;
  }
  const rest = splitter.end();
  return { out: Buffer.concat(written), rest };
}

const lengths = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 });
/** Every kind of character, half surrogates included. */
const text = fc.string({ unit: 'binary', maxLength: 30 }).chain((start) =>
  fc
    .array(
      fc.oneof(fc.constantFrom('\ud83d', '\ude00', '"', '\\', '\n', '/', '\u0000', '😀', 'é'), fc.string()),
      {
        maxLength: 6,
      },
    )
    .map((parts) => start + parts.join('')),
);

/** Writes a string as JSON with any mixture of escapes that stands for the same. */
function escaped(value: string, choices: number[]): string {
  const units = [...Array(value.length).keys()].map((index) => {
    const unit = value[index] ?? '';
    const choice = choices[index % choices.length] ?? 0;
    if (choice === 0) return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
    if (choice === 1 && unit === '/') return '\\/';
    if (unit >= '\ud800' && unit <= '\udfff') return unit;
    return JSON.stringify(unit).slice(1, -1);
  });
  return `"${units.join('')}"`;
}

describe('JsonSplitter', () => {
  it('finds the same string as JSON.parse, whatever the escapes and the chunks', () => {
    fc.assert(
      fc.property(text, fc.array(fc.nat(3), { minLength: 1 }), lengths, (value, choices, chunks) => {
        const body = Buffer.from(`{"key":"k","out":${escaped(value, choices)},"durationMs":1}`);
        const { out, rest } = split(body, chunks);
        const parsed: unknown = JSON.parse(body.toString());
        expect(out.toString()).toBe(Buffer.from((parsed as { out: string }).out).toString());
        expect(rest).toEqual({ key: 'k', out: null, durationMs: 1 });
      }),
      { numRuns: 500 },
    );
  });

  it('leaves the rest of any object as JSON.parse reads it', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 4 })), lengths, (value, chunks) => {
        const body = { ...value, out: 'the output', last: [value] };
        const { out, rest } = split(Buffer.from(JSON.stringify(body, null, 1)), chunks);
        expect(out.toString()).toBe('the output');
        expect(rest).toEqual(JSON.parse(JSON.stringify({ ...body, out: null })));
      }),
      { numRuns: 300 },
    );
  });

  it('accepts a mutilated body only if JSON.parse does', () => {
    const whole = Buffer.from('{"a":[1,{"out":"no"}],"out":"x\\u00e9\\n\\ud83d\\ude00y","b":{"c":null}}');
    const mutation = fc.record({
      at: fc.nat(whole.length),
      cut: fc.nat(3),
      insert: fc.string({ maxLength: 3 }),
    });
    fc.assert(
      fc.property(mutation, lengths, ({ at, cut, insert }, chunks) => {
        const body = Buffer.concat([whole.subarray(0, at), Buffer.from(insert), whole.subarray(at + cut)]);
        let expected: unknown;
        try {
          // What is no UTF-8 is passed on as it is here, and replaced there.
          expected = JSON.parse(new TextDecoder('utf8', { fatal: true }).decode(body));
        } catch {
          expected = undefined;
        }
        let outcome: { out: Buffer; rest: unknown } | undefined;
        try {
          outcome = split(body, chunks);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedJson);
        }
        if (expected !== undefined) expect(outcome).toBeDefined();
        if (outcome && expected !== undefined && typeof expected === 'object' && expected !== null) {
          const found = 'out' in expected ? expected.out : undefined;
          if (typeof found === 'string') expect(outcome.out.toString()).toBe(Buffer.from(found).toString());
        }
        if (outcome && expected === undefined) expect(body.toString()).toContain('\ufffd');
      }),
      { numRuns: 2000 },
    );
  });

  it('takes the last of equal keys, and an exact key before one in other case', () => {
    const out = (body: string): string => split(Buffer.from(body), [3]).out.toString();
    expect(out('{"out":"a","out":"b"}')).toBe('b');
    expect(out('{"OUT":"a","Out":"b"}')).toBe('b');
    expect(out('{"OUT":"a","out":"b"}')).toBe('b');
    expect(out('{"out":"a","OUT":"b"}')).toBe('a');
    expect(out('{"\\u006fut":"a"}')).toBe('a');
    expect(out('{"x":{"out":"a"},"y":["out","b"],"z":"out"}')).toBe('');
    expect(out('{ "out" :\n"a" }')).toBe('a');
  });

  it('refuses deep nesting, an endless rest and what is no JSON', () => {
    const nested = (depth: number): Buffer => Buffer.from(`{"a":${'['.repeat(depth)}${']'.repeat(depth)}}`);
    expect(() => split(nested(maxDepth - 1), [7])).not.toThrow();
    expect(() => split(nested(maxDepth), [7])).toThrow(MalformedJson);
    expect(() => split(Buffer.from(`{"a":"${'x'.repeat(2000)}"}`), [100], 1000)).toThrow(RestTooLarge);
    expect(() => split(Buffer.from(`{"out":"${'x'.repeat(2000)}"}`), [100], 1000)).not.toThrow();
    for (const body of [
      '',
      '{',
      '{"out":"',
      '{"out":"a"',
      '{"out":"a" "b"}',
      '{"out":"\\x"}',
      '{"out":"\\u12g4"}',
    ]) {
      expect(() => split(Buffer.from(body), [2]), body).toThrow(MalformedJson);
    }
    expect(() => split(Buffer.from('{"out":"\u0001"}'), [2])).toThrow('control character');
    expect(() => split(Buffer.from(''), [2])).toThrow('EOF');
  });

  it('passes on bytes that are not UTF-8', () => {
    const body = Buffer.concat([Buffer.from('{"out":"'), Buffer.from([0xff, 0xc3, 0x28]), Buffer.from('"}')]);
    expect(split(body, [1]).out).toEqual(Buffer.from([0xff, 0xc3, 0x28]));
  });
});
