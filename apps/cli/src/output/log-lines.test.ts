import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type LogLine, LogLines } from './log-lines.ts';

function read(pieces: readonly (readonly [offset: number, bytes: Uint8Array])[]): {
  lines: LogLine[];
  gaps: number[];
} {
  const lines: LogLine[] = [];
  const gaps: number[] = [];
  const log = new LogLines(
    (line) => lines.push(line),
    (bytes) => gaps.push(bytes),
  );
  for (const [offset, bytes] of pieces) log.write(offset, bytes);
  log.end();
  return { lines, gaps };
}

it('tells the streams apart and shows a last line without newline', () => {
  expect(read([[0, Buffer.from('stdout: a\nstderr: b\n\nstdout: \nfree text\nstdout: last')]]).lines).toEqual(
    [
      { stream: 'stdout', text: 'a' },
      { stream: 'stderr', text: 'b' },
      { stream: undefined, text: '' },
      { stream: 'stdout', text: '' },
      { stream: undefined, text: 'free text' },
      { stream: 'stdout', text: 'last' },
    ],
  );
});

it('gives the same lines however the bytes are cut and repeated', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.string({ unit: 'grapheme', maxLength: 12 }).map((text) => `stdout: ${text.replaceAll('\n', '')}`),
      ),
      fc.array(fc.nat(200), { maxLength: 20 }),
      fc.nat(5),
      (lines, cuts, overlap) => {
        const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''));
        const starts = [0, ...cuts.filter((cut) => cut < bytes.length).sort((a, b) => a - b)];
        const pieces = starts.map((start, index): [number, Uint8Array] => {
          const from = Math.max(0, start - overlap);
          return [from, bytes.subarray(from, starts[index + 1] ?? bytes.length)];
        });
        expect(read(pieces)).toEqual({
          lines: lines.map((line) => ({ stream: 'stdout', text: line.slice('stdout: '.length) })),
          gaps: [],
        });
      },
    ),
  );
});

it('reports missing bytes', () => {
  expect(
    read([
      [0, Buffer.from('stdout: a\nstd')],
      [100, Buffer.from('stdout: z\n')],
    ]),
  ).toEqual({
    lines: [
      { stream: 'stdout', text: 'a' },
      { stream: undefined, text: 'std' },
      { stream: 'stdout', text: 'z' },
    ],
    gaps: [87],
  });
});

it('shows an endless line in pieces, all of the stream it began on', () => {
  const { lines } = read([[0, Buffer.from(`stderr: ${'x'.repeat(200_000)}\nstdout: next\n`)]]);
  expect(lines.slice(0, -1).every((line) => line.stream === 'stderr')).toBe(true);
  expect(
    lines
      .slice(0, -1)
      .map((line) => line.text)
      .join(''),
  ).toBe('x'.repeat(200_000));
  expect(lines.at(-1)).toEqual({ stream: 'stdout', text: 'next' });
});

it('shows bytes that are no text as replacement characters', () => {
  expect(read([[0, Buffer.from([...Buffer.from('stdout: '), 0xff, 0xfe, 0x0a])]]).lines).toEqual([
    { stream: 'stdout', text: '\ufffd\ufffd' },
  ]);
});
