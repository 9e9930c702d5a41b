import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { oneLine, terminalText } from './terminal-text.ts';

describe('terminalText', () => {
  it.each([
    ['plain text, tabs\tand\nlines', 'plain text, tabs\tand\nlines'],
    ['clears the screen \x1b[2J\x1b[H.', 'clears the screen .'],
    ['sets the title \x1b]0;owned\x07.', 'sets the title .'],
    ['writes the clipboard \x1b]52;c;cm0gLXJm\x1b\\.', 'writes the clipboard .'],
    ['hyperlink \x1b]8;;http://evil\x1b\\text\x1b]8;;\x1b\\.', 'hyperlink text.'],
    ['asks for a report \x1b[6n\x1bP$qm\x1b\\.', 'asks for a report .'],
    ['one-byte forms \x9b2J\x9d0;owned\x9c.', 'one-byte forms .'],
    ['cursor keys \x1bOA and charset \x1b(0.', 'cursor keys A and charset .'],
    ['unfinished \x1b]0;title\nnext line', 'unfinished \nnext line'],
    ['bell \x07 and backspace a\bb', 'bell ␇ and backspace a␈b'],
    ['turned \u202eround\u2066 text\u2069', 'turned \ufffdround\ufffd text\ufffd'],
    ['dos\r\nlines\rand progress', 'dos\nlines\nand progress'],
  ])('%j', (text, shown) => {
    expect(terminalText(text, false)).toBe(shown);
    expect(terminalText(text, true)).toBe(shown);
  });

  it('keeps colours only where asked', () => {
    expect(terminalText('\x1b[1;31mred\x1b[0m', true)).toBe('\x1b[1;31mred\x1b[0m');
    expect(terminalText('\x1b[1;31mred\x1b[0m', false)).toBe('red');
    expect(terminalText('\x1b[>4;1mxterm keys', true)).toBe('xterm keys');
  });

  it('lets nothing through that a terminal obeys, whatever comes in', () => {
    const piece = fc.oneof(
      fc.constantFrom(
        '\x1b',
        '\x1b[',
        '\x1b]',
        '\x9b',
        '\x9d',
        '\x07',
        '\x1b\\',
        '\x9c',
        '\r',
        '\n',
        '0;',
        'm',
        '\x1bP',
      ),
      fc.string({ unit: 'binary', maxLength: 4 }),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const withColours = terminalText(pieces.join(''), true);
        // biome-ignore lint/suspicious/noControlCharactersInRegex: the characters that must be gone
        const rest = withColours.replace(/\x1b\[[0-9;:]*m/g, '');
        // biome-ignore lint/suspicious/noControlCharactersInRegex: the characters that must be gone
        expect(rest).not.toMatch(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/);
        // biome-ignore lint/suspicious/noControlCharactersInRegex: the characters that must be gone
        expect(terminalText(pieces.join(''), false)).not.toMatch(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/);
      }),
    );
  });
});

it('oneLine joins lines', () => {
  expect(oneLine('a\n  b\tc\x1b[2J')).toBe('a b c');
});
