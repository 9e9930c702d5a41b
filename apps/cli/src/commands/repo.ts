import path from 'node:path';
import {
  formatByteSize,
  type RepositoryView,
  repositoryListSchema,
  repositoryViewSchema,
} from '@kiln/protocol';
import type { Command } from 'commander';
import { z } from 'zod';
import { type Client, segment } from '../api/client.ts';
import { ApiRefusal } from '../errors.ts';
import { showAge } from '../output/durations.ts';
import type { Output } from '../output/output.ts';
import { table } from '../output/table.ts';
import { type CommandSetup, openSession } from '../session.ts';

/** An instance answers a sync after at most a minute, whatever became of the fetch. */
const syncTimeoutSeconds = 120;

export function addRepoCommands(program: Command, { invocation }: CommandSetup): void {
  const repo = program.command('repo').description('repositories that jobs may clone');

  repo
    .command('add')
    .description('register a repository and fetch it')
    .argument('<name>', 'its name in Kiln, such as github.com/acme/widgets')
    .argument('<clone-url>', 'https, ssh or file URL, or a path on the machine of the instance')
    .action(async (name: string, cloneURL: string, _options: object, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      // A relative path means nothing to the instance, which has a working directory of its own.
      const absolute = /^\.\.?(\/|$)/.test(cloneURL) ? path.resolve(invocation.cwd, cloneURL) : cloneURL;
      const body = { name, cloneURL: absolute };
      const registered = await client.call('POST', '/.api/repositories', repositoryViewSchema, { body });
      output.note(`${registered.name} is registered; fetching it now`);
      printView(output, await sync(client, output, registered.name));
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
      printView(output, await sync(client, output, name));
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

/** Waits for the end of a fetch however long it takes; everybody who asks shares it. */
async function sync(client: Client, output: Output, name: string): Promise<RepositoryView> {
  for (;;) {
    try {
      return await client.call('POST', `/.api/repositories/${segment(name)}/sync`, repositoryViewSchema, {
        timeoutSeconds: syncTimeoutSeconds,
      });
    } catch (error) {
      if (!(error instanceof ApiRefusal && error.code === 'fetch_pending')) throw error;
      output.note(`${name} is still being fetched; it goes on when this command is interrupted`);
    }
  }
}

function printView(output: Output, view: RepositoryView): void {
  if (output.json) output.jsonLine(view);
  else output.line(`${view.name}: ${statusText(view)}`);
}

function statusText(view: RepositoryView): string {
  if (view.status === 'failed') return `failed: ${view.lastError ?? 'unknown error'}`;
  if (view.status === 'new') return 'registered, its first fetch is under way';
  const head = view.headCommit === null ? 'empty' : view.headCommit.slice(0, 12);
  return view.defaultBranch === null ? head : `${view.defaultBranch} = ${head}`;
}
