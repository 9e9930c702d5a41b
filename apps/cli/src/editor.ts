import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { CliError } from './errors.ts';
import type { Invocation } from './invocation.ts';

/** A text that somebody has edited. It may hold what nobody else should read. */
export interface EditedText {
  text: string;
  /** Of the user's only, in a directory of its own, with whatever the editor left beside it. */
  path: string;
  remove(): Promise<void>;
}

/** Opens a text in the user's editor (VISUAL, EDITOR, else vi) and waits until it is closed. @throws CliError */
export async function editText(
  name: string,
  text: string,
  { env }: Pick<Invocation, 'env'>,
): Promise<EditedText> {
  const directory = await mkdtemp(path.join(tmpdir(), 'kiln-edit-'));
  const file = path.join(directory, name);
  const remove = () => rm(directory, { recursive: true, force: true });
  try {
    await writeFile(file, text, { mode: 0o600 });
    await runEditor(env['VISUAL'] || env['EDITOR'] || 'vi', file, env);
    return { text: await readFile(file, 'utf8'), path: file, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

async function runEditor(editor: string, file: string, env: Invocation['env']): Promise<void> {
  // By a shell, as git does: people set EDITOR to commands with options. How long they take is theirs to say.
  const child = spawn('/bin/sh', ['-c', `${editor} "$@"`, editor, file], { stdio: 'inherit', env });
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
  if (code === 0) return;
  throw new CliError(
    `the editor "${editor}" ended with ${signal ?? `exit code ${code}`}; nothing was saved`,
    {
      hint: 'set EDITOR to the one that you like',
    },
  );
}
