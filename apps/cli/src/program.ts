import { kilnVersion } from '@kiln/protocol';
import { Command, CommanderError } from 'commander';
import { addConfigCommands } from './commands/config.ts';
import { addExecutorCommands } from './commands/executor.ts';
import { addJobCommands } from './commands/job.ts';
import { addLogin } from './commands/login.ts';
import { addOrgCommands } from './commands/org.ts';
import { addRepoCommands } from './commands/repo.ts';
import { addSecretCommands } from './commands/secret.ts';
import { addServe } from './commands/serve.ts';
import { addTokenCommands } from './commands/token.ts';
import { addUserCommands } from './commands/user.ts';
import { CliError, type ExitCode, exitCodes } from './errors.ts';
import type { Invocation } from './invocation.ts';
import { createOutput } from './output/output.ts';
import type { CommandSetup } from './session.ts';

/** Runs the program once. Every error is printed; the result is the exit code of the process. */
export async function run(invocation: Invocation): Promise<ExitCode> {
  let exitCode: ExitCode = exitCodes.ok;
  const setup: CommandSetup = {
    invocation,
    setExitCode: (code) => {
      exitCode = code;
    },
  };
  try {
    await createProgram(setup).parseAsync([...invocation.args], { from: 'user' });
    return exitCode;
  } catch (error) {
    // Commander has printed its own message. 0: help or version was asked for.
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.notDone;
    return report(error, invocation);
  }
}

export function createProgram(setup: CommandSetup): Command {
  const { stdout, stderr } = setup.invocation;
  const program = new Command('kiln')
    .description('Kiln runs resource-intensive or untrusted work in sandboxes.')
    .version(kilnVersion)
    .option('--json', 'print results as JSON, one document a line')
    .option('--url <url>', 'address of the instance (KILN_URL, default: http://127.0.0.1:3080)')
    .addHelpText('after', environmentHelp);
  addServe(program, setup);
  addLogin(program, setup);
  addJobCommands(program, setup);
  addRepoCommands(program, setup);
  addSecretCommands(program, setup);
  addExecutorCommands(program, setup);
  addConfigCommands(program, setup);
  addUserCommands(program, setup);
  addOrgCommands(program, setup);
  addTokenCommands(program, setup);
  configureAll(program, (command) =>
    command
      .exitOverride()
      .showHelpAfterError('(--help shows what there is)')
      .configureOutput({
        writeOut: (text) => stdout.write(text),
        writeErr: (text) => stderr.write(text),
        getOutHasColors: () => false,
        getErrHasColors: () => false,
      }),
  );
  return program;
}

const environmentHelp = `
Environment:
  KILN_URL     address of the instance
  KILN_TOKEN   access token; where it is not set, that of \`kiln login\`, and with an instance on this
               machine the admin token in KILN_DATA_DIR (default: .kiln)

Exit codes: 0 success, 1 the job failed, 2 the command was not carried out, 3 the job was canceled, 130 interrupted
`;

function configureAll(command: Command, configure: (command: Command) => void): void {
  configure(command);
  for (const child of command.commands) configureAll(child, configure);
}

function report(error: unknown, invocation: Invocation): ExitCode {
  const output = createOutput(invocation, false);
  if (error instanceof CliError) {
    output.note(output.style('red', `kiln: ${error.message}`));
    if (error.hint !== undefined) output.note(`  ${error.hint}`);
    return error.exitCode;
  }
  // A defect of this program: the stack is what its maintainers need.
  output.note(error instanceof Error ? (error.stack ?? error.message) : String(error));
  return exitCodes.notDone;
}
