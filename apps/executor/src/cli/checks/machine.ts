import type { Settings } from '../../env/index.ts';
import type { Finding, Runtime } from '../../runtimes/runtime.ts';
import { checkGit } from '../../workspace/index.ts';
import { type Check, ok, warning } from './check.ts';

const gitSeconds = 20;
/** Longer than a test boot under KVM that never comes up is waited for. */
const runtimeSeconds = 120;
/** A VM under software emulation on a busy machine takes its time, and is tried twice. */
const tryOutSeconds = 300;

/** This machine: git, and what the runtime needs. */
export async function checkMachine(
  settings: Settings,
  runtime: Runtime,
  env: Readonly<Record<string, string | undefined>>,
  options: { tryOut: boolean },
): Promise<Check[]> {
  return [
    await gitCheck(settings, env),
    ...(await runtimeChecks(runtime, options.tryOut)),
    ...batchesChecks(settings),
  ];
}

async function gitCheck(
  settings: Settings,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Check> {
  const git = await checkGit(env, settings.allowUnpatchedGit, AbortSignal.timeout(gitSeconds * 1000));
  return git.problem === undefined
    ? ok('git', `git ${git.version}`)
    : { name: 'git', state: 'error', ...git.problem };
}

/** Only a runtime in which nothing is wrong is tried out. */
async function runtimeChecks(runtime: Runtime, tryOut: boolean): Promise<Check[]> {
  const checks = (await runtime.validate(AbortSignal.timeout(runtimeSeconds * 1000))).map(checkOf);
  if (checks.some(({ state }) => state === 'error')) return checks;
  const tryStep = tryOut ? runtime.tryOut : undefined;
  const mistakes = (await tryStep?.call(runtime, AbortSignal.timeout(tryOutSeconds * 1000))) ?? [];
  const verdict =
    mistakes.length > 0
      ? mistakes.map(checkOf)
      : [ok(runtime.name, readyText(runtime, tryStep !== undefined))];
  return [...checks, ...verdict];
}

function checkOf({ check, severity, message, fix }: Finding): Check {
  return { name: check, state: severity, message, fix };
}

function batchesChecks(settings: Settings): Check[] {
  if (!settings.queues.names.includes('batches') || settings.allowHostSrc) return [];
  return [
    warning(
      'batches',
      'batch changes without native execution run `src` outside any sandbox, which this executor refuses',
      'Turn on native execution on the instance, or set EXECUTOR_ALLOW_HOST_SRC=true.',
    ),
  ];
}

function readyText({ name, isolation }: Runtime, tried: boolean): string {
  const how = [isolation.vmm, isolation.accelerator].filter((part) => part !== undefined).join(', ');
  const what = how === '' ? `the ${name} runtime` : `the ${name} runtime (${how})`;
  return tried ? `${what} has run a step` : `${what} is ready`;
}
