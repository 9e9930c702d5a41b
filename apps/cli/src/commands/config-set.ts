import { type SiteConfigSaved, siteConfigSavedSchema } from '@kiln/protocol';
import type { Command } from 'commander';
import { z } from 'zod';
import { parseJson, segment } from '../api/client.ts';
import { CliError } from '../errors.ts';
import type { Output } from '../output/output.ts';
import { readSecretValue, refuseArguments } from '../secret-input.ts';
import { type CommandSetup, openSession, type Session } from '../session.ts';

const setExamples = `
A secret is asked for and not shown, or read from standard input. Values are text, or JSON where the key takes no text.

Examples:
  kiln config set externalURL https://kiln.example.com
  kiln config set retention.jobsDays 30
  openssl rand -hex 32 | kiln config set executors.accessToken
`;

export function addConfigSet(config: Command, { invocation }: CommandSetup): void {
  config
    .command('set')
    .description('set one key of the site configuration; comments and everything else stay')
    .argument('<key>', 'such as externalURL')
    .argument('[value]', 'never for a secret')
    // Refused below, because the parser's own refusal would quote the value.
    .allowExcessArguments()
    .addHelpText('after', setExamples)
    .action(async (key: string, given: string | undefined, _options: object, command: Command) => {
      const session = await openSession(command, invocation);
      const property = await findProperty(session, key);
      const isSecret = property?.writeOnly === true || property?.items?.writeOnly === true;
      if (isSecret) refuseArguments(command.args, 1, 'a secret');
      if (command.args.length > 2) throw new CliError('one value is set at a time; put it in quotes');
      const text = isSecret ? await readSecretValue(key, invocation, `kiln config set ${key}`) : given;
      if (text === undefined) throw new CliError(`no value was given for ${key}`);
      const body = { value: property?.type === 'string' ? text : (parseJson(text) ?? text) };
      const saved = await session.client.call('PUT', pathOf(key), siteConfigSavedSchema, { body });
      showSaved(session.output, saved);
    });

  config
    .command('unset')
    .description('take one key out of the site configuration, so that its default applies')
    .argument('<key>', 'such as externalURL')
    .action(async (key: string, _options: object, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      showSaved(output, await client.call('DELETE', pathOf(key), siteConfigSavedSchema));
    });
}

export function showSaved(output: Output, saved: SiteConfigSaved): void {
  const { version } = saved.latest;
  if (output.json) output.jsonLine(saved);
  else
    output.line(saved.changed ? `version ${version} is in force` : `nothing to change in version ${version}`);
}

const secretMark = { writeOnly: z.boolean().optional() };
const propertySchema = z.object({
  ...secretMark,
  type: z.string().optional(),
  items: z.object(secretMark).optional(),
});
const jsonSchemaSchema = z.object({ properties: z.record(z.string(), propertySchema) });

/** What the instance says of a key; undefined: it has no such key, and says so when it is set. */
async function findProperty(
  { client }: Session,
  key: string,
): Promise<z.infer<typeof propertySchema> | undefined> {
  const { properties } = await client.call('GET', '/.api/site-config/schema', jsonSchemaSchema);
  return Object.hasOwn(properties, key) ? properties[key] : undefined;
}

function pathOf(key: string): string {
  return `/.api/site-config/keys/${segment(key)}`;
}
