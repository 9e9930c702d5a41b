import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { createProgram } from './program.ts';
import { leaves } from './reference.ts';
import { quietSetup } from './testing/quiet-setup.ts';

const root = path.join(import.meta.dirname, '../../..');
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], {
  cwd: root,
})
  .toString()
  .trim()
  .split('\n');

interface DocumentedCommand {
  where: string;
  words: string[];
}

const commands = files.flatMap((file) => kilnCommands(file, readFileSync(path.join(root, file), 'utf8')));

describe('every kiln command in a ```sh block of the documents is one that kiln accepts', () => {
  it('finds them', () => {
    expect(commands.length).toBeGreaterThan(5);
  });

  it.each(commands.map((command) => [`${command.where}: kiln ${command.words.join(' ')}`, command] as const))(
    '%s',
    async (_title, { words }) => {
      const program = createProgram(quietSetup());
      for (const leaf of leaves(program)) leaf.action(() => undefined);
      await expect(program.parseAsync(words, { from: 'user' })).resolves.toBeDefined();
    },
  );
});

/** `kiln ...` at the start of a line or of a `$( )`, with an optional `bin/`; lines that end with a backslash go on. */
function kilnCommands(file: string, text: string): DocumentedCommand[] {
  const blocks = text.matchAll(/^```sh[^\n]*\n([\s\S]*?)^```$/gm);
  return [...blocks].flatMap(([, block = '']) =>
    block
      .replaceAll('\\\n', ' ')
      .split('\n')
      .flatMap((line) => {
        const match = /(?:^\s*|\$\()(?:[A-Z_]+=\S+ )*(?:\.\/)?(?:bin\/)?kiln (.*)$/.exec(line);
        return match?.[1] === undefined ? [] : [{ where: file, words: splitWords(match[1]) }];
      }),
  );
}

/** Enough of a shell's rules for the documents: quotes, and an end at `|`, `>`, `&`, `)` or `#`. */
function splitWords(text: string): string[] {
  const words: string[] = [];
  for (const match of text.matchAll(
    /\s*(?:(\d*[|>&;)#].*$)|((?:'[^']*'|"(?:[^"\\]|\\.)*"|[^\s'"|>&;)])+))/g,
  )) {
    if (match[1] !== undefined) break;
    words.push(
      (match[2] ?? '').replace(/'([^']*)'|"((?:[^"\\]|\\.)*)"/g, (_all, single, double) => single ?? double),
    );
  }
  return words;
}
