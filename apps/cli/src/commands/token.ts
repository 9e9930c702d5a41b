import {
  accessTokenListSchema,
  createdAccessTokenSchema,
  type TokenScope,
  tokenScopeSchema,
} from '@kiln/protocol';
import { type Command, Option } from 'commander';
import { z } from 'zod';
import { showAge } from '../output/durations.ts';
import { table } from '../output/table.ts';
import { type CommandSetup, openSession } from '../session.ts';
import { days, tokenId } from './arguments.ts';

const createExamples = `
The token is printed once, on standard output, and kept nowhere.

Examples:
  kiln token create --scope jobs --days 365 "builds of the website"
`;

export function addTokenCommands(program: Command, { invocation }: CommandSetup): void {
  const token = program.command('token').description('access tokens, with which programs are you');

  token
    .command('create')
    .description('make an access token')
    .argument('<note>', 'what it is for')
    .addOption(
      new Option('--scope <scope>', 'what it may do of what you may')
        .choices(tokenScopeSchema.options)
        .default('jobs'),
    )
    .option('--days <number>', 'how long it is good for (default: until it is revoked)', days)
    .addHelpText('after', createExamples)
    .action(async (note: string, options: { scope: TokenScope; days?: number }, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      const body = { note, scope: options.scope, expiresInDays: options.days };
      const made = await client.call('POST', '/.api/access-tokens', createdAccessTokenSchema, { body });
      if (output.json) return output.jsonLine(made);
      output.line(made.token);
      output.note(`token ${made.accessToken.id} of ${made.user}; it is not shown again`);
    });

  token
    .command('list')
    .description('list your access tokens, without the tokens themselves')
    .option('--user <name>', 'those of another user, as a site admin')
    .action(async ({ user }: { user?: string }, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      const query = user === undefined ? '' : `?${new URLSearchParams({ user })}`;
      const list = await client.call('GET', `/.api/access-tokens${query}`, accessTokenListSchema);
      if (output.json) return output.jsonLine(list);
      const now = Date.now();
      const rows = list.accessTokens.map((view) => [
        String(view.id),
        view.scope,
        showAge(view.createdAt, now),
        view.lastUsedAt === null ? 'never' : showAge(view.lastUsedAt, now),
        view.expiresAt?.slice(0, 10) ?? 'never',
        view.note,
      ]);
      for (const line of table(['ID', 'SCOPE', 'CREATED', 'USED', 'EXPIRES', 'NOTE'], rows))
        output.line(line);
    });

  token
    .command('revoke')
    .description('revoke an access token, at once; site admins revoke those of others too')
    .argument('<id>', 'its number', tokenId)
    .action(async (id: number, _options: object, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      await client.call('DELETE', `/.api/access-tokens/${id}`, z.unknown());
      if (output.json) output.jsonLine({ revoked: id });
      else output.line(`token ${id}: revoked`);
    });
}
