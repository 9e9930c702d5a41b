import path from 'node:path';
import {
  formatByteSize,
  type RepositoryView,
  repositoryListSchema,
  repositoryViewSchema,
} from '@kiln/protocol';
import type { Command } from 'commander';
import { z } from 'zod';
import { segment } from '../api/client.ts';
import { showAge } from '../output/durations.ts';
import { table } from '../output/table.ts';
import { type CommandSetup, openSession } from '../session.ts';

/** These calls end with a fetch of the repository, which may be large. */
const fetchTimeoutSeconds = 15 * 60;

export function addRepoCommands(program: Command, { invocation }: CommandSetup): void {
  const repo = program.command('repo').description('repositories that jobs may clone');

  repo
    .command('add')
    .description('register a repository')
    .argument('<name>', 'its name in Kiln, such as github.com/acme/widgets')
    .argument('<clone-url>', 'https, ssh or file URL, or a path on the machine of the instance')
    .action(async (name: string, cloneURL: string, _options: object, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      // A relative path means nothing to the instance, which has a working directory of its own.
      const absolute = /^\.\.?(\/|$)/.test(cloneURL) ? path.resolve(invocation.cwd, cloneURL) : cloneURL;
      const view = await client.call('POST', '/.api/repositories', repositoryViewSchema, {
        body: { name, cloneURL: absolute },
        timeoutSeconds: fetchTimeoutSeconds,
      });
      if (output.json) output.jsonLine(view);
      else output.line(`${view.name}: ${statusText(view)}`);
    });

  repo
    .command('list')
    .description('list the registered repositories')
    .action(async (_options: object, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      const list = await client.call('GET', '/.api/repositories', repositoryListSchema);
      if (output.json) return output.jsonLine(list);
      if (list.repositories.length === 0) {
        return output.note('no repositories; register one with: kiln repo add NAME CLONE_URL');
      }
      const now = Date.now();
      const rows = list.repositories.map((view) => [
        view.name,
        statusText(view),
        view.lastFetchedAt === null ? '' : showAge(view.lastFetchedAt, now),
        view.sizeBytes === null ? '' : formatByteSize(view.sizeBytes),
        view.cloneURL,
      ]);
      for (const line of table(['NAME', 'STATUS', 'FETCHED', 'SIZE', 'CLONE URL'], rows)) output.line(line);
    });

  repo
    .command('sync')
    .description('fetch a repository now')
    .argument('<name>', 'name of the repository')
    .action(async (name: string, _options: object, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      const view = await client.call(
        'POST',
        `/.api/repositories/${segment(name)}/sync`,
        repositoryViewSchema,
        {
          timeoutSeconds: fetchTimeoutSeconds,
        },
      );
      if (output.json) output.jsonLine(view);
      else output.line(`${view.name}: ${statusText(view)}`);
    });

  repo
    .command('remove')
    .description('forget a repository and delete its mirror; its jobs stay')
    .argument('<name>', 'name of the repository')
    .action(async (name: string, _options: object, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      await client.call('DELETE', `/.api/repositories/${segment(name)}`, z.unknown());
      if (output.json) output.jsonLine({ removed: name });
      else output.line(`${name}: removed`);
    });
}

function statusText(view: RepositoryView): string {
  if (view.status === 'failed') return `failed: ${view.lastError ?? 'unknown error'}`;
  if (view.status === 'new') return 'registered, its first fetch is under way';
  const head = view.headCommit === null ? 'empty' : view.headCommit.slice(0, 12);
  return view.defaultBranch === null ? head : `${view.defaultBranch} = ${head}`;
}
