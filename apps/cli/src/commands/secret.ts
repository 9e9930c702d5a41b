import {
  rotatedKeySchema,
  type SecretScope,
  secretListSchema,
  secretScopeSchema,
  secretSetSchema,
  secretUseListSchema,
} from '@kiln/protocol';
import { type Command, Option } from 'commander';
import { z } from 'zod';
import { segment } from '../api/client.ts';
import { showAge } from '../output/durations.ts';
import { table } from '../output/table.ts';
import { readSecretValue, refuseArguments } from '../secret-input.ts';
import { type CommandSetup, openSession } from '../session.ts';
import { pageSize } from './arguments.ts';

const setExamples = `
The value is asked for and not shown, or read from standard input; one line end at its end is left out.

Examples:
  kiln secret set NPM_TOKEN
  kiln secret set DEPLOY_KEY < deploy-key.pem
`;

export function addSecretCommands(program: Command, { invocation }: CommandSetup): void {
  const secret = program.command('secret').description('executor secrets, which jobs get as variables');
  const scope = () =>
    new Option('--scope <scope>', 'what may use it').choices(secretScopeSchema.options).default('JOBS');

  secret
    .command('list')
    .description('list secrets; their values are never shown')
    .addOption(new Option('--scope <scope>', 'only those of a scope').choices(secretScopeSchema.options))
    .action(async (options: { scope?: SecretScope }, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      const query = options.scope === undefined ? '' : `?scope=${options.scope}`;
      const list = await client.call('GET', `/.api/secrets${query}`, secretListSchema);
      if (output.json) return output.jsonLine(list);
      if (list.secrets.length === 0) return output.note('no secrets; make one with: kiln secret set KEY');
      const now = Date.now();
      const rows = list.secrets.map((view) => [
        view.key,
        view.scope,
        String(view.version),
        showAge(view.updatedAt, now),
      ]);
      for (const line of table(['KEY', 'SCOPE', 'VERSION', 'CHANGED'], rows)) output.line(line);
    });

  secret
    .command('set')
    .description('make a secret, or give it a new value')
    .argument('<key>', 'its name and that of the variable, such as NPM_TOKEN')
    .addOption(scope())
    .allowExcessArguments()
    .addHelpText('after', setExamples)
    .action(async (key: string, options: { scope: SecretScope }, command: Command) => {
      refuseArguments(command.args, 1, 'a value');
      const { client, output } = await openSession(command, invocation);
      const value = await readSecretValue(key, invocation);
      const set = await client.call('PUT', pathOf(options.scope, key), secretSetSchema, { body: { value } });
      for (const notice of set.notices) output.note(output.style('yellow', `notice: ${notice}`));
      if (output.json) output.jsonLine(set.secret);
      else output.line(`${set.secret.key}: version ${set.secret.version}`);
    });

  secret
    .command('remove')
    .description('remove a secret; the log of its uses stays')
    .argument('<key>', 'its name')
    .addOption(scope())
    .action(async (key: string, options: { scope: SecretScope }, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      await client.call('DELETE', pathOf(options.scope, key), z.unknown());
      if (output.json) output.jsonLine({ removed: key });
      else output.line(`${key}: removed`);
    });

  secret
    .command('uses')
    .description('list which jobs got which secrets, newest first; also of secrets that are gone')
    .argument('[key]', 'only uses of this one')
    .option('-n, --limit <number>', 'how many to show at most', pageSize, 50)
    .action(async (key: string | undefined, { limit }: { limit: number }, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      const query = new URLSearchParams({ first: String(limit), ...(key === undefined ? {} : { key }) });
      const list = await client.call('GET', `/.api/secret-uses?${query}`, secretUseListSchema);
      if (output.json) return output.jsonLine(list);
      const now = Date.now();
      const rows = list.uses.map((use) => [
        showAge(use.usedAt, now),
        use.key,
        String(use.version),
        `${use.jobId} (attempt ${use.attempt})`,
        use.user ?? '',
        use.cause,
        use.executor,
      ]);
      const heading = ['USED', 'KEY', 'VERSION', 'JOB', 'USER', 'CAUSE', 'EXECUTOR'];
      for (const line of table(heading, rows)) output.line(line);
    });

  secret
    .command('rotate-key')
    .description(
      'encrypt secrets and the site configuration with the current key of the instance, see docs/secrets.md',
    )
    .action(async (_options: object, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      const rotated = await client.call('POST', '/.api/secrets/rotate-key', rotatedKeySchema, {
        timeoutSeconds: rotationTimeoutSeconds,
      });
      if (output.json) return output.jsonLine(rotated);
      output.line(`all secrets are encrypted with the key ${rotated.keyId} (${rotated.rewrapped} were not)`);
      for (const id of rotated.retired) output.line(`the key ${id} is not needed any more`);
    });
}

/** A row each for thousands of secrets. */
const rotationTimeoutSeconds = 300;

function pathOf(scope: SecretScope, key: string): string {
  return `/.api/secrets/${scope}/${segment(key)}`;
}
