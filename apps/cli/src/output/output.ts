import { styleText } from 'node:util';
import type { Invocation } from '../invocation.ts';
import { terminalText } from './terminal-text.ts';

type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';

/**
 * Where a command prints. Results go to standard output, everything about them (progress, notices, hints) to
 * standard error. Every text passes {@link terminalText}, so no caller has to think of what others wrote into it.
 */
export interface Output {
  readonly json: boolean;
  /** Standard output is a terminal. */
  readonly terminal: boolean;
  /** A line of the result. */
  line(text: string): void;
  /** A line about it. */
  note(text: string): void;
  /** The result for programs: one JSON document on one line. */
  jsonLine(value: unknown): void;
  /** Bytes as they are, for `--raw`. Resolves when more may be written. */
  bytes(bytes: Uint8Array): Promise<void>;
  /** Text in a style where the stream shows styles (a terminal, and NO_COLOR unset). */
  style(style: Style, text: string, stream?: 'stdout' | 'stderr'): string;
}

export function createOutput(invocation: Pick<Invocation, 'stdout' | 'stderr'>, json: boolean): Output {
  const { stdout, stderr } = invocation;
  return {
    json,
    terminal: stdout.isTTY === true,
    line: (text) => {
      stdout.write(`${shown(text, stdout.isTTY === true)}\n`);
    },
    note: (text) => {
      stderr.write(`${shown(text, stderr.isTTY === true)}\n`);
    },
    jsonLine: (value) => {
      stdout.write(`${escapeControls(JSON.stringify(value))}\n`);
    },
    bytes: async (bytes) => {
      if (!stdout.write(bytes)) await new Promise<void>((resolve) => stdout.once('drain', resolve));
    },
    style: (style, text, stream = 'stderr') => {
      const target = stream === 'stdout' ? stdout : stderr;
      return target.isTTY === true ? styleText(style, text, { stream: target }) : text;
    },
  };
}

/** A colour that was begun and not ended must not reach the next line, which may be ours. */
function shown(text: string, colours: boolean): string {
  const safe = terminalText(text, colours);
  return safe.includes('\x1b[') ? `${safe}\x1b[0m` : safe;
}

/** JSON leaves DEL and the C1 controls as they are; some terminals obey them. */
function escapeControls(json: string): string {
  return json.replace(/[\x7f-\x9f]/g, (character) => `\\u00${character.charCodeAt(0).toString(16)}`);
}
