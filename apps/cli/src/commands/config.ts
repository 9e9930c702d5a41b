import {
  type SiteConfigVersion,
  siteConfigDiffSchema,
  siteConfigHistorySchema,
  siteConfigSavedSchema,
  siteConfigVersionTextSchema,
  siteConfigViewSchema,
} from '@kiln/protocol';
import type { Command } from 'commander';
import { z } from 'zod';
import { CliError } from '../errors.ts';
import { showAge } from '../output/durations.ts';
import { table } from '../output/table.ts';
import { type CommandSetup, openSession, type Session } from '../session.ts';
import { configVersion, pageSize } from './arguments.ts';
import { addConfigEdit } from './config-edit.ts';
import { addConfigSet, showSaved } from './config-set.ts';

export function addConfigCommands(program: Command, setup: CommandSetup): void {
  const config = program
    .command('config')
    .description('the site configuration, see docs/site-configuration.md; for site admins');
  addShow(config, setup);
  addConfigEdit(config, setup);
  addConfigSet(config, setup);
  addHistory(config, setup);
  addDiff(config, setup);
  addRollback(config, setup);
  addSchema(config, setup);
}

function addShow(config: Command, { invocation }: CommandSetup): void {
  config
    .command('show')
    .description('print the site configuration; marks stand in place of secrets')
    .argument('[version]', 'an earlier one', configVersion)
    .action(async (version: number | undefined, _options: object, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      const shown =
        version === undefined
          ? await client.call('GET', '/.api/site-config', siteConfigViewSchema)
          : await client.call('GET', `/.api/site-config/history/${version}`, siteConfigVersionTextSchema);
      if (output.json) return output.jsonLine(shown);
      if ('file' in shown && shown.file !== null) output.note(`this is the file ${shown.file}`);
      output.line(shown.text.replace(/\n$/, ''));
    });
}

function addHistory(config: Command, { invocation }: CommandSetup): void {
  config
    .command('history')
    .description('list who changed the site configuration when, newest first')
    .option('-n, --limit <number>', 'how many to show at most', pageSize, 50)
    .action(async ({ limit }: { limit: number }, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      const path = `/.api/site-config/history?first=${limit}`;
      const history = await client.call('GET', path, siteConfigHistorySchema);
      if (output.json) return output.jsonLine(history);
      const now = Date.now();
      const rows = history.versions.map((version) => [
        String(version.version),
        showAge(version.createdAt, now),
        version.user ?? '',
        showCause(version),
      ]);
      for (const line of table(['VERSION', 'MADE', 'USER', 'CAUSE'], rows)) output.line(line);
    });
}

function showCause({ cause, restoredVersion }: SiteConfigVersion): string {
  return restoredVersion === null ? cause : `${cause} to ${restoredVersion}`;
}

function addDiff(config: Command, { invocation }: CommandSetup): void {
  config
    .command('diff')
    .description(
      'compare two versions of the site configuration; without numbers the latest with the one before',
    )
    .argument('[from]', 'the earlier one', configVersion)
    .argument('[to]', 'the later one (default: the latest)', configVersion)
    .action(async (from: number | undefined, to: number | undefined, _options: object, command: Command) => {
      const session = await openSession(command, invocation);
      const { client, output } = session;
      const end = to ?? (await latestVersion(session));
      // The first one is the same as itself.
      const begin = from ?? Math.max(1, end - 1);
      const compared = await client.call(
        'GET',
        `/.api/site-config/diff?from=${begin}&to=${end}`,
        siteConfigDiffSchema,
      );
      if (output.json) return output.jsonLine(compared);
      if (compared.diff === '') return output.note(`versions ${begin} and ${end} do not differ`);
      for (const line of compared.diff.replace(/\n$/, '').split('\n')) {
        const style = line.startsWith('+') ? 'green' : line.startsWith('-') ? 'red' : undefined;
        output.line(style ? output.style(style, line, 'stdout') : line);
      }
    });
}

/** @throws CliError when it is a file */
async function latestVersion({ client }: Session): Promise<number> {
  const { latest, file } = await client.call('GET', '/.api/site-config', siteConfigViewSchema);
  if (latest) return latest.version;
  throw new CliError(`the site configuration is the file ${file}, which has no versions here`, {
    hint: 'its history is where that file is kept; without KILN_SITE_CONFIG_FILE the instance keeps one',
  });
}

function addRollback(config: Command, { invocation }: CommandSetup): void {
  config
    .command('rollback')
    .description('make a new version like an earlier one, with the secrets that it had')
    .argument('<version>', 'its number', configVersion)
    .action(async (version: number, _options: object, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      const body = { version };
      const saved = await client.call('POST', '/.api/site-config/rollback', siteConfigSavedSchema, { body });
      showSaved(output, saved);
    });
}

function addSchema(config: Command, { invocation }: CommandSetup): void {
  config
    .command('schema')
    .description('print the JSON Schema of the site configuration')
    .action(async (_options: object, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      const schema = await client.call('GET', '/.api/site-config/schema', z.looseObject({}));
      if (output.json) output.jsonLine(schema);
      else output.line(JSON.stringify(schema, undefined, 2));
    });
}
