import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { runCommandLine } from './cli/index.ts';

const root = path.join(import.meta.dirname, '../../..');
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], {
  cwd: root,
})
  .toString()
  .trim()
  .split('\n');

/** `bin/executor ...` at the start of a line of a ```sh block, without comments. */
const commands = files.flatMap((file) =>
  [...readFileSync(path.join(root, file), 'utf8').matchAll(/^```sh[^\n]*\n([\s\S]*?)^```$/gm)].flatMap(
    ([, block = '']) =>
      [...block.matchAll(/^(?:[A-Z_]+=\S+ )*bin\/executor ([^#\n&|>]*)/gm)].map(([, words = '']) => ({
        title: `${file}: executor ${words.trim()}`,
        words: words.trim().split(/ +/),
      })),
  ),
);

async function run(args: string[]): Promise<{ code: number; out: string; err: string }> {
  const printed = { out: '', err: '' };
  const code = await runCommandLine({
    args,
    env: {},
    out: (text) => {
      printed.out += text;
    },
    err: (text) => {
      printed.err += text;
    },
    onSignal: () => undefined,
  });
  return { code, ...printed };
}

describe('every executor command in a ```sh block of the documents is one that executor knows', () => {
  it('finds them', () => {
    expect(commands.length).toBeGreaterThan(5);
  });

  it.each(commands)('$title', async ({ words }) => {
    const [command = ''] = words;
    expect((await run(['help'])).out).toMatch(new RegExp(`^ {2}${command} `, 'm'));
    // These read all their arguments before they explain themselves.
    if (command === 'install' || command === 'image')
      expect(await run([...words, '--help'])).toMatchObject({ code: 0, err: '' });
  });
});
