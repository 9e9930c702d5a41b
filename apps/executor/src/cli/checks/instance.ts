import { queueNames } from '@kiln/protocol';
import { createInstanceClient, type InstanceClient } from '../../client/index.ts';
import type { Settings } from '../../env/index.ts';
import { type Check, error, ok, warning } from './check.ts';
import { checkClone } from './clone.ts';

const checkSeconds = 20;
/** Leases and deadlines are the instance's own business; this is about log times that people compare. */
const mostClockSkewSeconds = 5;

/**
 * The instance: reachable, shared secret accepted, clock near ours, gives repositories to git, and has the queues that are to be
 * served. Nobody is registered there.
 */
export async function checkInstance(
  settings: Settings,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Check[]> {
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
    checks.push(await checkClone(client, settings.queues.names[0], env, signal));
  } catch (cause) {
    checks.push(
      error(
        'instance',
        cause instanceof Error ? cause.message : String(cause),
        'Check EXECUTOR_FRONTEND_URL and EXECUTOR_FRONTEND_PASSWORD, and that the instance runs.',
      ),
    );
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
    return error(
      'queues',
      `the instance has no queue ${missing.join(', ')}`,
      `Set ${variable} to ${mode === 'single' ? 'one' : 'some'} of those it has: ${listed(true).join(', ') || 'none was found'}.`,
    );
  if (unknown.length > 0)
    return warning(
      'queues',
      `the instance did not tell whether it has the queue ${unknown.join(', ')}`,
      'Look at what the executor logs after its start.',
    );
  return ok('queues', `the instance has ${names.join(', ')}`);
}

function clockCheck(aheadSeconds: number | undefined): Check {
  if (aheadSeconds === undefined) return ok('clock', 'the instance does not tell the time');
  const seconds = Math.round(Math.abs(aheadSeconds));
  // The header has whole seconds only.
  if (seconds <= mostClockSkewSeconds)
    return ok('clock', 'this machine and the instance agree about the time');
  return warning(
    'clock',
    `this machine's clock is ${seconds} s ${aheadSeconds > 0 ? 'behind' : 'ahead of'} the instance's`,
    'Synchronise both clocks (NTP): times in job logs are off by that much until then.',
  );
}
