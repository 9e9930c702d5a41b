import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createLinePrefixer, type StreamName } from './line-prefixer.ts';

type Write = [StreamName, string];

function prefixed(writes: Write[], maxHeldBytes?: number): string {
  const prefixer = createLinePrefixer(maxHeldBytes);
  const output = writes.map(([stream, text]) => Buffer.from(prefixer.write(stream, Buffer.from(text))));
  return Buffer.concat([...output, prefixer.end()]).toString('utf8');
}

test('lines of both streams, carriage returns and an unfinished line', () => {
  const writes: Write[] = [
    ['stdout', 'one\r\ntw'],
    ['stderr', 'err\n'],
    ['stdout', 'o\n\n10%\r20%\r'],
    ['stdout', '\nlast'],
  ];
  expect(prefixed(writes)).toBe(
    'stdout: one\nstderr: err\nstdout: two\nstdout: \nstdout: 10%\r20%\nstdout: last\n',
  );
});

test('invalid UTF-8 stays as it is', () => {
  const prefixer = createLinePrefixer();
  const bytes = Buffer.from([0xff, 0xfe, 0x0a]);
  expect(Buffer.from(prefixer.write('stdout', bytes))).toEqual(
    Buffer.concat([Buffer.from('stdout: '), bytes]),
  );
});

test('a long line passes in pieces, holds the other stream back, and gives way before that blocks', () => {
  expect(
    prefixed(
      [
        ['stdout', 'aaaaaa'],
        ['stderr', 'e\n'],
        ['stdout', 'bb\nc\n'],
      ],
      4,
    ),
  ).toBe('stdout: aaaaaabb\nstdout: c\nstderr: e\n');
  expect(
    prefixed(
      [
        ['stdout', 'aaaaaa'],
        ['stderr', 'eeeee\n'],
        ['stdout', 'bb\n'],
      ],
      4,
    ),
  ).toBe('stdout: aaaaaa\nstderr: eeeee\nstdout: bb\n');
});

const writes = fc.array(
  fc.tuple(
    fc.constantFrom<StreamName>('stdout', 'stderr'),
    fc.string({ unit: fc.constantFrom('a', 'b', '\r', '\n', 'é'), maxLength: 12 }),
  ),
  { maxLength: 30 },
);

test('each stream comes out as its own lines, whatever the chunks and however little may be held', () => {
  fc.assert(
    fc.property(writes, fc.constantFrom(1, 3, 1000), (given, maxHeldBytes) => {
      const output = prefixed(given, maxHeldBytes);
      expect(output === '' || output.endsWith('\n')).toBe(true);
      for (const stream of ['stdout', 'stderr'] as const) {
        const text = given.flatMap(([name, piece]) => (name === stream ? [piece] : [])).join('');
        const expected =
          text === ''
            ? []
            : text
                .replace(/\n$/, '')
                .split('\n')
                .map((line) => line.replace(/\r$/, ''));
        const lines = output.split('\n').filter((line) => line.startsWith(`${stream}: `));
        const got = lines.map((line) => line.slice(stream.length + 2));
        if (maxHeldBytes === 1000) expect(got).toEqual(expected);
        // Cut lines: the bytes are all there, in order.
        else expect(got.join('').replaceAll('\r', '')).toBe(expected.join('').replaceAll('\r', ''));
      }
    }),
  );
});
