import { userListSchema, userViewSchema } from '@kiln/protocol';
import { Argument, type Command } from 'commander';
import { z } from 'zod';
import { segment } from '../api/client.ts';
import { CliError } from '../errors.ts';
import type { Invocation } from '../invocation.ts';
import { showAge } from '../output/durations.ts';
import { table } from '../output/table.ts';
import { readNewPassword, readPassword, refuseArguments } from '../secret-input.ts';
import { type CommandSetup, openSession } from '../session.ts';

const passwordHelp = '\nThe password is asked for and not shown, or read from standard input.\n';

export function addUserCommands(program: Command, { invocation }: CommandSetup): void {
  const user = program.command('user').description('users of the instance, for site admins');

  user
    .command('list')
    .description('list users')
    .action(async (_options: object, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      const list = await client.call('GET', '/.api/users', userListSchema);
      if (output.json) return output.jsonLine(list);
      const now = Date.now();
      const rows = list.users.map((view) => [
        view.name,
        view.siteAdmin ? 'site admin' : 'user',
        view.hasPassword ? 'yes' : 'no',
        showAge(view.createdAt, now),
      ]);
      for (const line of table(['NAME', 'ROLE', 'PASSWORD', 'CREATED'], rows)) output.line(line);
    });

  user
    .command('create')
    .description('make a user with a password')
    .argument('<name>', 'letters and digits, with single "-", "." or "_" between them')
    .option('--site-admin', 'who may do everything')
    .allowExcessArguments()
    .addHelpText('after', passwordHelp)
    .action(async (name: string, { siteAdmin = false }: { siteAdmin?: boolean }, command: Command) => {
      refuseArguments(command.args, 1, 'a password');
      const { client, output } = await openSession(command, invocation);
      const password = await readNewPassword(`Password of ${name}`, invocation);
      const body = { name, siteAdmin, password };
      const made = await client.call('POST', '/.api/users', userViewSchema, { body });
      if (output.json) output.jsonLine(made);
      else output.line(`${made.name}: created`);
    });

  user
    .command('set-password')
    .description('set the password of a user, whose sessions end')
    .argument('<name>', 'the user')
    .allowExcessArguments()
    .addHelpText('after', passwordHelp)
    .action(async (name: string, _options: object, command: Command) => {
      refuseArguments(command.args, 1, 'a password');
      const { client, output } = await openSession(command, invocation);
      const me = await client.call('GET', '/.api/user', userViewSchema);
      const own = me.name.toLowerCase() === name.toLowerCase();
      const currentPassword = own && me.hasPassword ? await readCurrentPassword(name, invocation) : undefined;
      const password = await readNewPassword(`New password of ${name}`, invocation);
      const body = { password, currentPassword };
      await client.call('PUT', `/.api/users/${segment(name)}/password`, z.unknown(), { body });
      if (output.json) output.jsonLine({ name });
      else output.line(`${name}: password set`);
    });

  user
    .command('set-role')
    .description('make a user a site admin, or one no more')
    .argument('<name>', 'the user')
    .addArgument(new Argument('<role>', 'what to be').choices(['user', 'site-admin']))
    .action(async (name: string, role: string, _options: object, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      const body = { siteAdmin: role === 'site-admin' };
      await client.call('PUT', `/.api/users/${segment(name)}/site-admin`, z.unknown(), { body });
      if (output.json) output.jsonLine({ name, ...body });
      else output.line(`${name}: ${role}`);
    });

  user
    .command('link')
    .description('let a user sign in with an account of the OpenID Connect provider')
    .argument('<name>', 'the user')
    .argument('<subject>', 'what the provider calls the account: its "sub"')
    .action(async (name: string, subject: string, _options: object, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      const path = `/.api/users/${segment(name)}/external-account`;
      await client.call('PUT', path, z.unknown(), { body: { subject } });
      if (output.json) output.jsonLine({ name, subject });
      else output.line(`${name}: signs in with ${subject}`);
    });

  user
    .command('delete')
    .description('delete a user; their jobs are canceled and stay without a name')
    .argument('<name>', 'the user')
    .action(async (name: string, _options: object, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      await client.call('DELETE', `/.api/users/${segment(name)}`, z.unknown(), {
        timeoutSeconds: deletionTimeoutSeconds,
      });
      if (output.json) output.jsonLine({ deleted: name });
      else output.line(`${name}: deleted`);
    });
}

/** Each of their jobs is canceled. */
const deletionTimeoutSeconds = 300;

/** Only on a terminal: standard input holds one password, the new one. */
async function readCurrentPassword(name: string, invocation: Invocation): Promise<string> {
  if (invocation.stdin.isTTY === true) return readPassword(`Current password of ${name}`, invocation);
  throw new CliError('your own password is changed on a terminal, where the current one is asked for first');
}
