import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { text as readStream } from 'node:stream/consumers';
import { siteConfigSavedSchema, siteConfigViewSchema } from '@kiln/protocol';
import type { Command } from 'commander';
import { type EditedText, editText } from '../editor.ts';
import { CliError } from '../errors.ts';
import type { Invocation } from '../invocation.ts';
import { type CommandSetup, openSession } from '../session.ts';
import { configVersion } from './arguments.ts';
import { showSaved } from './config-set.ts';

interface EditOptions {
  file?: string;
  base?: number;
}

export function addConfigEdit(config: Command, { invocation }: CommandSetup): void {
  config
    .command('edit')
    .description('edit the site configuration in your editor (VISUAL, EDITOR, else vi), and save it')
    .option('--file <path>', 'take the text from a file instead of an editor; "-" is standard input')
    .option(
      '--base <version>',
      'the version that the file was made from (default: the latest)',
      configVersion,
    )
    .action(async ({ file, base }: EditOptions, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      const shown = await client.call('GET', '/.api/site-config', siteConfigViewSchema);
      if (shown.latest === null) {
        throw new CliError(`the site configuration is the file ${shown.file}`, {
          hint: 'edit that file, at the place where it comes from',
        });
      }
      const baseVersion = base ?? shown.latest.version;
      const save = async (text: string) =>
        client.call('PUT', '/.api/site-config', siteConfigSavedSchema, { body: { text, baseVersion } });
      if (file !== undefined) return showSaved(output, await save(await readText(file, invocation)));

      const edited = await editText('site-config.jsonc', shown.text, invocation);
      const saved = await save(edited.text).catch((error: unknown) => {
        throw keptText(error, edited, baseVersion);
      });
      await edited.remove();
      showSaved(output, saved);
    });
}

/** An hour of work is not thrown away because of a comma. */
function keptText(error: unknown, edited: EditedText, baseVersion: number): unknown {
  if (!(error instanceof CliError)) return error;
  const kept = `your text is kept in ${edited.path}; mend it there, then: kiln config edit --base ${baseVersion} --file ${edited.path}`;
  return new CliError(error.message, {
    hint: error.hint === undefined ? kept : `${error.hint}\n  ${kept}`,
    exitCode: error.exitCode,
    cause: error,
  });
}

/** @throws CliError */
async function readText(file: string, { cwd, stdin }: Pick<Invocation, 'cwd' | 'stdin'>): Promise<string> {
  if (file === '-') return readStream(stdin);
  try {
    return await readFile(path.resolve(cwd, file), 'utf8');
  } catch (error) {
    throw new CliError(`cannot read ${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
