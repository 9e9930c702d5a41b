import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline/promises';
import { type NeedName, needs, onPath } from './needs.ts';

/** The machine lacks something and it was not installed; the message says what to do. */
export class SetupError extends Error {
  override readonly name = 'SetupError';
}

export interface EnsureSystemOptions {
  need: readonly NeedName[];
  /** Install without asking. */
  yes: boolean;
  signal: AbortSignal;
  machine?: Machine;
}

/** What is asked of the machine itself, so that a test can stand in for it. */
export interface Machine {
  env: NodeJS.ProcessEnv;
  userId: number;
  /** Somebody can be asked. */
  interactive: boolean;
  say(line: string): void;
  ask(question: string, signal: AbortSignal): Promise<string>;
}

/**
 * Makes sure that the machine has what is needed, and installs nothing that is there. On Debian and its kin, as root,
 * the missing packages are installed: on a terminal after asking, elsewhere (CI, a pipe) after saying so. On other
 * systems, or without root, the command that does it is named.
 * @throws SetupError
 */
export async function ensureSystem({
  need,
  yes,
  signal,
  machine = thisMachine(),
}: EnsureSystemOptions): Promise<void> {
  const missing = await findMissing(need, machine.env);
  if (missing.length === 0) return;
  machine.say('this machine lacks:');
  for (const name of missing) machine.say(`  ${needs[name].why}`);
  const install = await installCommand(missing, machine.env);
  if (install === undefined) {
    throw new SetupError(
      'install what is missing with the package manager of this system, then run this again',
    );
  }
  const shown = install.map((command) => command.join(' ')).join(' && ');
  if (install[0]?.[0] !== 'apt-get') throw new SetupError(`install it with:  ${shown}`);
  if (machine.userId !== 0) throw new SetupError(`install it as root with:  ${shown}`);

  machine.say(`to install it:  ${shown}`);
  if (!yes && machine.interactive) {
    const answer = await machine.ask('Install these packages now? [Y/n] ', signal);
    if (!/^(y|yes)?$/i.test(answer.trim()))
      throw new SetupError(`nothing was installed; to do it:  ${shown}`);
  }
  for (const command of install) await runQuietly(command, machine.env, signal);
  const still = await findMissing(missing, machine.env);
  if (still.length > 0) {
    throw new SetupError(`the packages were installed, but this is still missing: ${still.join(', ')}`);
  }
  machine.say('installed');
}

async function findMissing(names: readonly NeedName[], env: NodeJS.ProcessEnv): Promise<NeedName[]> {
  const present = await Promise.all(names.map((name) => needs[name].present(env)));
  return names.filter((_, index) => !present[index]);
}

/** The commands, each as program and arguments. */
async function installCommand(
  missing: readonly NeedName[],
  env: NodeJS.ProcessEnv,
): Promise<string[][] | undefined> {
  const packages = (manager: keyof (typeof needs)['git']['packages']) =>
    missing.map((name) => needs[name].packages[manager]);
  // Another process (unattended-upgrades, say) may hold dpkg's lock for a while.
  const patience = ['-o', 'DPkg::Lock::Timeout=120'];
  if (await onPath('apt-get', env)) {
    return [
      ['apt-get', 'update'],
      ['apt-get', ...patience, 'install', '-y', '--no-install-recommends', ...packages('apt')],
    ];
  }
  if (await onPath('dnf', env)) return [['dnf', 'install', ...packages('dnf')]];
  if (await onPath('apk', env)) return [['apk', 'add', ...packages('apk')]];
  if (await onPath('pacman', env)) return [['pacman', '-S', ...packages('pacman')]];
  if (await onPath('zypper', env)) return [['zypper', 'install', ...packages('zypper')]];
  return undefined;
}

/** Shows what the command printed only when it fails. */
async function runQuietly(
  command: readonly string[],
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<void> {
  const [program = '', ...args] = command;
  const child = spawn(program, args, {
    env: { ...env, DEBIAN_FRONTEND: 'noninteractive' },
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
    killSignal: 'SIGTERM',
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-8000);
    });
  }
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.on('error', reject);
  child.on('close', resolve);
  const code = await promise;
  if (code !== 0) {
    throw new SetupError(
      `${output.trimEnd()}\n\`${command.join(' ')}\` failed; mend that, then run this again`,
    );
  }
}

function thisMachine(): Machine {
  return {
    env: process.env,
    userId: process.getuid?.() ?? -1,
    interactive: process.stdin.isTTY === true && process.stderr.isTTY === true && !process.env['CI'],
    say: (line) => process.stderr.write(`kiln: ${line}\n`),
    async ask(question, signal) {
      const terminal = createInterface({ input: process.stdin, output: process.stderr });
      try {
        return await terminal.question(question, { signal });
      } finally {
        terminal.close();
      }
    },
  };
}
