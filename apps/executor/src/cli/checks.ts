import { queueNames } from '@kiln/protocol';
import { createInstanceClient, type InstanceClient } from '../client/index.ts';
import type { Settings } from '../env/index.ts';
import type { Runtime } from '../runtimes/runtime.ts';
import { checkGit } from '../workspace/index.ts';

/** One thing that was looked at. */
export interface Check {
  name: string;
  state: 'ok' | 'warning' | 'error';
  message: string;
  /** What to do about it; empty when all is well. */
  fix: string;
}

const checkSeconds = 20;
/** A VM under software emulation on a busy machine takes its time, and is tried twice. */
const tryOutSeconds = 300;
/** Leases and deadlines are the instance's own business; this is about log times that people compare. */
const mostClockSkewSeconds = 5;

/** This machine: git, and what the runtime needs. */
export async function checkMachine(
  settings: Settings,
  runtime: Runtime,
  env: Readonly<Record<string, string | undefined>>,
  options: { tryOut: boolean },
): Promise<Check[]> {
  const signal = AbortSignal.timeout(checkSeconds * 1000);
  const git = await checkGit(env, settings.allowUnpatchedGit, signal);
  const checks: Check[] = [
    git.problem === undefined
      ? ok('git', `git ${git.version}`)
      : { name: 'git', state: 'error', ...git.problem },
  ];
  const findings = await runtime.validate(signal);
  for (const { severity, message, fix } of findings)
    checks.push({ name: runtime.name, state: severity, message, fix });
  if (!findings.some(({ severity }) => severity === 'error')) {
    const tryOut = options.tryOut ? runtime.tryOut : undefined;
    const mistakes = (await tryOut?.call(runtime, AbortSignal.timeout(tryOutSeconds * 1000))) ?? [];
    for (const { severity, message, fix } of mistakes)
      checks.push({ name: runtime.name, state: severity, message, fix });
    if (mistakes.length === 0) checks.push(ok(runtime.name, readyText(runtime, tryOut !== undefined)));
  }
  if (settings.queues.names.includes('batches') && !settings.allowHostSrc)
    checks.push({
      name: 'batches',
      state: 'warning',
      message:
        'batch changes without native execution run `src` outside any sandbox, which this executor refuses',
      fix: 'turn on native execution on the instance, or set EXECUTOR_ALLOW_HOST_SRC=true',
    });
  return checks;
}

/** The instance: reachable, shared secret accepted, clock near ours, and has the queues that are to be served. */
export async function checkInstance(settings: Settings): Promise<Check[]> {
  const signal = AbortSignal.timeout(checkSeconds * 1000);
  await using client = createInstanceClient({
    baseUrl: settings.frontendUrl,
    sharedSecret: settings.sharedSecret,
    executorName: 'validate',
    queues: settings.queues,
    resources: { numCPUs: 0, memoryBytes: 0, diskBytes: 0 },
  });
  const checks: Check[] = [];
  try {
    const { clockAheadSeconds } = await client.testAuth(signal);
    checks.push(ok('instance', `${settings.frontendUrl.href} accepts the shared secret`));
    checks.push(clockCheck(clockAheadSeconds));
    checks.push(await queueCheck(client, settings.queues, signal));
  } catch (error) {
    checks.push({
      name: 'instance',
      state: 'error',
      message: error instanceof Error ? error.message : String(error),
      fix: 'check EXECUTOR_FRONTEND_URL and EXECUTOR_FRONTEND_PASSWORD, and that the instance runs',
    });
  }
  return checks;
}

async function queueCheck(
  client: InstanceClient,
  { mode, names }: Settings['queues'],
  signal: AbortSignal,
): Promise<Check> {
  const asked = await Promise.all(
    queueNames.map(async (name) => ({ name, has: await client.hasQueue(name, signal) })),
  );
  const listed = (has: boolean | undefined) =>
    asked.filter((queue) => queue.has === has).map(({ name }) => name);
  const missing = listed(false).filter((name) => names.includes(name));
  const unknown = listed(undefined).filter((name) => names.includes(name));
  const variable = mode === 'single' ? 'EXECUTOR_QUEUE_NAME' : 'EXECUTOR_QUEUE_NAMES';
  if (missing.length > 0)
    return {
      name: 'queues',
      state: 'error',
      message: `the instance has no queue ${missing.join(', ')}`,
      fix: `set ${variable} to ${mode === 'single' ? 'one' : 'some'} of those it has: ${listed(true).join(', ') || 'none was found'}`,
    };
  if (unknown.length > 0)
    return {
      name: 'queues',
      state: 'warning',
      message: `the instance did not tell whether it has the queue ${unknown.join(', ')}`,
      fix: 'look at what the executor logs after its start',
    };
  return ok('queues', `the instance has ${names.join(', ')}`);
}

function clockCheck(aheadSeconds: number | undefined): Check {
  if (aheadSeconds === undefined) return ok('clock', 'the instance does not tell the time');
  const seconds = Math.round(Math.abs(aheadSeconds));
  // The header has whole seconds only.
  if (seconds <= mostClockSkewSeconds)
    return ok('clock', 'this machine and the instance agree about the time');
  return {
    name: 'clock',
    state: 'warning',
    message: `this machine's clock is ${seconds} s ${aheadSeconds > 0 ? 'behind' : 'ahead of'} the instance's`,
    fix: 'synchronise both clocks (NTP); times in job logs are off by that much until then',
  };
}

function readyText({ name, isolation }: Runtime, tried: boolean): string {
  const how = [isolation.vmm, isolation.accelerator].filter((part) => part !== undefined).join(', ');
  const what = how === '' ? `the ${name} runtime` : `the ${name} runtime (${how})`;
  return tried ? `${what} has run a step` : `${what} is ready`;
}

function ok(name: string, message: string): Check {
  return { name, state: 'ok', message, fix: '' };
}
