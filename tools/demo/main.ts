// `npm run demo [-- OPTIONS]`: one job on a machine that has nothing yet, from set-up to outcome.
import { spawn } from 'node:child_process';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { interruption } from '../process/interruption.ts';
import { checkout, type InstanceProcess, programEnvironment, runKiln } from '../process/programs.ts';
import { ensureSystem } from '../setup/ensure-system.ts';
import { demoJob } from './job.ts';
import { findRunning, forget, remember, stopCommand } from './kept.ts';
import { demoRepository } from './repository.ts';
import { type DemoIsolation, isolationNeeds, whyNoMicrovm } from './sandboxes.ts';
import { type DemoSite, demoDirectory, show, startSite } from './site.ts';

const repositoryName = 'demo/repository';
const startedMs = performance.now();
const signal = interruption();
const usage = `usage: npm run demo -- [--docker] [--yes] [--keep] [--data DIRECTORY]

  --docker steps run in Docker containers instead of microVMs
  --yes    install what is missing without asking
  --keep   leave everything running, and say how to stop it
  --data   where it keeps everything (default: .kiln/demo of this checkout)
`;
const values = readOptions();
const directory = values.data === undefined ? demoDirectory() : path.resolve(values.data);

try {
  const { code, kept } = await main();
  process.exitCode = code;
  // What goes on running would keep this process.
  if (kept) process.exit();
} catch (error) {
  if (signal.aborted) {
    say('interrupted; everything that the demo started has been stopped');
    process.exitCode = 130;
  } else {
    say(error instanceof Error ? error.message : String(error));
    say(`logs are in ${show(directory)}`);
    process.exitCode = 1;
  }
}

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        docker: { type: 'boolean', default: false },
        yes: { type: 'boolean', default: false },
        keep: { type: 'boolean', default: false },
        data: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    if (!values.help) return values;
    process.stdout.write(usage);
    process.exit(0);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n${usage}`);
    process.exit(2);
  }
}

async function main(): Promise<{ code: number; kept: boolean }> {
  const isolation = await chooseIsolation();
  await ensureSystem({ need: isolationNeeds[isolation], yes: values.yes, signal });
  const running = await findRunning(directory);
  if (running) {
    say(`an earlier demo still runs; stop it with:  ${stopCommand(running)}`);
    return { code: 1, kept: false };
  }
  const site = await startSite(directory, {
    isolation,
    say,
    signal,
    outlives: values.keep,
    prepare: registerRepository,
  });
  let kept = false;
  try {
    await remember(directory, site.pids);
    const code = await runJob(site);
    tellWhereToLook(site, values.keep);
    kept = values.keep && !signal.aborted;
    return { code, kept };
  } finally {
    if (!kept) {
      say('stopping everything');
      await site[Symbol.asyncDispose]();
      await forget(directory);
    }
  }
}

/** Containers are the weaker isolation: where they stand in for microVMs, that is said. */
async function chooseIsolation(): Promise<DemoIsolation> {
  if (values.docker) return 'docker';
  const reason = await whyNoMicrovm();
  if (reason === undefined) return 'microvm';
  say(`${reason}: steps run in Docker containers`);
  return 'docker';
}

async function registerRepository(instance: InstanceProcess): Promise<void> {
  const source = await demoRepository(directory, signal);
  const known = await registeredSource(instance);
  if (known !== undefined && known !== source) await runEchoed(instance, ['repo', 'remove', repositoryName]);
  const command = known === source ? ['sync', repositoryName] : ['add', repositoryName, source];
  await runEchoed(instance, ['repo', ...command]);
}

/** Asked without the command: each start of it costs a second run of the demo half a second. */
async function registeredSource({ url, adminToken }: InstanceProcess): Promise<string | undefined> {
  const response = await fetch(`${url}/.api/repositories/${encodeURIComponent(repositoryName)}`, {
    headers: { authorization: `token ${adminToken}` },
    signal,
  });
  if (response.status === 404) return undefined;
  return String(Reflect.get(Object(await response.json()), 'cloneURL'));
}

async function runEchoed(instance: InstanceProcess, command: readonly string[]): Promise<void> {
  echo(command);
  const { code, stderr } = await runKiln(instance, command, { signal });
  if (code !== 0) throw new Error(stderr.trim());
}

/** Resolves to the job's outcome as an exit code. */
async function runJob({ instance }: DemoSite): Promise<number> {
  const command = ['job', 'submit', '--wait', '--file', '-'];
  echo(command);
  const child = spawn(path.join(checkout, 'bin/kiln'), command, {
    env: programEnvironment({ KILN_URL: instance.url, KILN_TOKEN: instance.adminToken }),
    stdio: ['pipe', 'inherit', 'inherit'],
    signal,
    // In a group of its own: Ctrl-C is for the demo, which stops everything and not the waiting alone.
    detached: true,
    killSignal: 'SIGKILL',
  });
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  child.on('error', reject);
  child.on('exit', (code) => resolve(code ?? 1));
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(JSON.stringify(demoJob(repositoryName)));
  return promise;
}

function tellWhereToLook({ instance, pids }: DemoSite, keep: boolean): void {
  say(`the demo took ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
  if (!keep) {
    say('next: `npm run demo -- --keep` leaves it running; README.md has a first job of your own');
    say(`logs: ${show(directory)}; the way of a job through the code: docs/architecture.md`);
    return;
  }
  say('it goes on running. In a shell:');
  say(`  export KILN_URL=${instance.url} KILN_DATA_DIR=${instance.dataDirectory}`);
  say('  bin/kiln job list');
  say('  bin/kiln job submit --wait --image kiln-demo/busybox:1 -- echo hello');
  say(`to stop it:  ${stopCommand(pids)}`);
}

function echo(command: readonly string[]): void {
  say(`$ bin/kiln ${command.join(' ')}`);
}

function say(line: string): void {
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1).padStart(5);
  process.stderr.write(`[${seconds} s] ${line}\n`);
}
