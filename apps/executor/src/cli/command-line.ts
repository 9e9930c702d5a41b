import { parseArgs } from 'node:util';
import { compatVersion, kilnVersion } from '@kiln/protocol';
import { SettingsError } from '../env/index.ts';
import { runAttach } from './attach.ts';
import { runConfig } from './config.ts';
import { runImage } from './image.ts';
import { runInstall } from './install.ts';
import { runExecutor } from './run.ts';
import type { CommandSurroundings } from './surroundings.ts';
import { runTestVm, type TestVmOptions } from './test-vm.ts';
import { runValidate } from './validate.ts';

const usage = `Kiln executor ${kilnVersion}: takes jobs from an instance and runs them in sandboxes.

Usage: executor [COMMAND]

Commands:
  run                 work until told to stop; the default
    --verify          run a step in a VM first, as validate does, and print warnings
  validate            check the settings, this machine and the instance, and say how to mend what is wrong
    --json            as JSON
  install WHAT        build what microVMs run: kernel, image or all; "executor install --help" explains each
  test-vm             boot a VM like those of jobs and leave it running, to look into
    --directory DIR   with a copy of a directory as its workspace
    --repo NAME       with a repository of the instance as its workspace,
    --revision REV    at this commit or branch
    --network none    without a network
    --name-only       print nothing but its name
    --remove NAME     remove one that was left
  attach NAME         a shell in a VM that test-vm has left; with a command behind it, that
  image COMMAND       list, get, load, remove the images that steps run in; "executor image --help" has more
  config print        show every setting in force and where it comes from
    --json            as JSON
  config reference    print the documentation of all settings, as Markdown
  version             print the version (also --version, -v)
  help                print this text (also --help, -h)

It is set up by environment variables alone; "executor config reference" explains them. At least:
  EXECUTOR_FRONTEND_URL        address of the instance
  EXECUTOR_FRONTEND_PASSWORD   its shared secret, "executors.accessToken" (or EXECUTOR_FRONTEND_PASSWORD_FILE)
  EXECUTOR_QUEUE_NAME          the queue to serve: batches, codeintel or jobs (or EXECUTOR_QUEUE_NAMES)
  EXECUTOR_USE_FIRECRACKER     false: run jobs in Docker containers

The first SIGTERM, SIGINT or SIGHUP lets running jobs finish; the second gives them back and ends at once.
Exit code: 0 after a stop that was asked for, 1 after a mistake or a failure.
`;

/** Commands that {@link usage} says all of; the others have a text of their own, or take the rest as it is. */
const withUsage: ReadonlySet<string> = new Set(['run', 'validate', 'config', 'test-vm', 'version']);

/**
 * Runs one command of the `executor` program.
 * @returns its exit code
 */
export async function runCommandLine(surroundings: CommandSurroundings): Promise<number> {
  const { args, out, err } = surroundings;
  if (surroundings.env['SANITY_CHECK'] === 'true') {
    out('the executor program starts\n');
    return 0;
  }
  try {
    return await dispatch(surroundings);
  } catch (error) {
    if (error instanceof SettingsError) err(`${error.message}\n`);
    else err(`executor ${args[0] ?? 'run'}: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}

async function dispatch(surroundings: CommandSurroundings): Promise<number> {
  const { args, out } = surroundings;
  const [command = 'run', ...rest] = args;
  if (withUsage.has(command) && rest.some((option) => option === '--help' || option === '-h')) {
    out(usage);
    return 0;
  }
  switch (command) {
    case 'run':
      checkOptions(rest, ['--verify']);
      return runExecutor(surroundings, { verify: rest.includes('--verify') });
    case 'validate':
      checkOptions(rest, ['--json']);
      return runValidate(surroundings, { json: rest.includes('--json') });
    case 'config':
      checkOptions(rest.slice(1), ['--json']);
      return runConfig(surroundings, rest[0], { json: rest.includes('--json') });
    case 'image':
      return runImage(surroundings, rest);
    case 'version':
    case '--version':
    case '-v':
      out(`executor ${kilnVersion} (speaks the executor protocol of ${compatVersion})\n`);
      return 0;
    case 'help':
    case 'h':
    case '--help':
    case '-h':
      out(usage);
      return 0;
    case 'test-vm':
      return runTestVm(surroundings, testVmOptions(rest));
    case 'attach': {
      const [name, ...program] = rest;
      if (name === '--help' || name === '-h') {
        out(usage);
        return 0;
      }
      if (name === undefined || name.startsWith('-'))
        throw new Error('write "executor attach NAME [COMMAND...]"');
      return runAttach(surroundings, name, program);
    }
    case 'install':
      return runInstall(surroundings, rest);
    default:
      // On standard output, as the reference does it.
      out(`executor: there is no command ${JSON.stringify(command)}; "executor help" lists them\n`);
      return 1;
  }
}

function testVmOptions(rest: readonly string[]): TestVmOptions {
  const { values } = parseArgs({
    args: [...rest],
    options: {
      directory: { type: 'string' },
      network: { type: 'string', default: 'public' },
      'name-only': { type: 'boolean', default: false },
      remove: { type: 'string' },
      repo: { type: 'string' },
      revision: { type: 'string' },
    },
  });
  const { directory, repo, revision } = values;
  if ((repo === undefined) !== (revision === undefined))
    throw new Error(
      '--repo and --revision go together: a repository of the instance and its commit or branch',
    );
  if (directory !== undefined && repo !== undefined)
    throw new Error('the workspace is one of both: --directory, or --repo with --revision');
  if (values.network !== 'public' && values.network !== 'none')
    throw new Error(`--network takes public or none, not ${JSON.stringify(values.network)}`);
  return {
    workspace:
      directory !== undefined
        ? { directory }
        : repo !== undefined && revision !== undefined
          ? { repo, revision }
          : undefined,
    network: values.network,
    nameOnly: values['name-only'],
    remove: values.remove,
  };
}

function checkOptions(given: readonly string[], known: readonly string[]): void {
  const unknown = given.find((option) => !known.includes(option));
  if (unknown !== undefined)
    throw new Error(`there is no option ${JSON.stringify(unknown)}; "executor help" lists them`);
}
