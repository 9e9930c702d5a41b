import { organizationListSchema, organizationViewSchema } from '@kiln/protocol';
import type { Command } from 'commander';
import { z } from 'zod';
import { segment } from '../api/client.ts';
import { table } from '../output/table.ts';
import { type CommandSetup, openSession } from '../session.ts';

/** Each of its jobs is canceled. */
const deletionTimeoutSeconds = 300;

export function addOrgCommands(program: Command, { invocation }: CommandSetup): void {
  const org = program.command('org').description('organizations, whose members share jobs');

  org
    .command('list')
    .description('list your organizations, or as a site admin all')
    .action(async (_options: object, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      const list = await client.call('GET', '/.api/organizations', organizationListSchema);
      if (output.json) return output.jsonLine(list);
      const rows = list.organizations.map((view) => [view.name, view.role ?? '', String(view.members)]);
      for (const line of table(['NAME', 'YOU', 'MEMBERS'], rows)) output.line(line);
    });

  org
    .command('show')
    .description('list who is in an organization')
    .argument('<org>', 'its name')
    .action(async (name: string, _options: object, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      const view = await client.call('GET', pathOf(name), organizationViewSchema);
      if (output.json) return output.jsonLine(view);
      const rows = view.members.map((member) => [member.name, member.role]);
      for (const line of table(['NAME', 'ROLE'], rows)) output.line(line);
    });

  org
    .command('create')
    .description('make an organization, as a site admin')
    .argument('<org>', 'letters and digits, with single "-", "." or "_" between them')
    .option('--admin <user>', 'its first admin (default: you)')
    .action(async (name: string, { admin }: { admin?: string }, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      const body = { name, admin };
      const made = await client.call('POST', '/.api/organizations', organizationViewSchema, { body });
      if (output.json) output.jsonLine(made);
      else output.line(`${made.name}: created`);
    });

  org
    .command('add')
    .description('take a user in, or give a member another role, as an admin of it')
    .argument('<org>', 'its name')
    .argument('<user>', 'who')
    .option('--admin', 'as an admin of it, not as a member')
    .action(async (name: string, user: string, { admin }: { admin?: true }, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      const role = admin ? 'admin' : 'member';
      await client.call('PUT', memberPathOf(name, user), z.unknown(), { body: { role } });
      if (output.json) output.jsonLine({ name: user, role });
      else output.line(`${user}: ${role} of ${name}`);
    });

  org
    .command('remove')
    .description('remove a member, as an admin of it; or leave')
    .argument('<org>', 'its name')
    .argument('<user>', 'who')
    .action(async (name: string, user: string, _options: object, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      await client.call('DELETE', memberPathOf(name, user), z.unknown());
      if (output.json) output.jsonLine({ removed: user });
      else output.line(`${user}: removed from ${name}`);
    });

  org
    .command('delete')
    .description('delete an organization, as a site admin; its jobs are canceled and stay without a name')
    .argument('<org>', 'its name')
    .action(async (name: string, _options: object, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      await client.call('DELETE', pathOf(name), z.unknown(), { timeoutSeconds: deletionTimeoutSeconds });
      if (output.json) output.jsonLine({ deleted: name });
      else output.line(`${name}: deleted`);
    });
}

function pathOf(name: string): string {
  return `/.api/organizations/${segment(name)}`;
}

function memberPathOf(name: string, user: string): string {
  return `${pathOf(name)}/members/${segment(user)}`;
}
