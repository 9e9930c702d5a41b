import { kilnVersion } from '@kiln/protocol';
import { shutDownSeconds, startExecutor } from '../executor.ts';
import type { Runtime } from '../runtimes/runtime.ts';
import { checkCapacity, checkMachine } from './checks/index.ts';
import { start } from './start.ts';
import type { CommandSurroundings } from './surroundings.ts';

/**
 * `executor run`: works until it is told to stop or has used up its quota. The first signal drains, the second gives
 * running jobs back and ends.
 * @returns 0 after a stop that was asked for; 1 when it never came to work
 */
export async function runExecutor(
  surroundings: CommandSurroundings,
  options: { verify: boolean },
): Promise<number> {
  const { env, out, err, onSignal } = surroundings;
  const { settings, warnings, executorName, secrets, log, runtime: chosen } = start(surroundings);
  await using runtime = chosen;
  for (const warning of warnings) log.warn({ warning }, 'settings');
  const checks = await checkMachine(settings, runtime, env, { tryOut: options.verify });
  for (const { name, state, message, fix } of checks)
    if (state === 'error' || (state === 'warning' && options.verify))
      err(`${name}: ${message}${fix === '' ? '' : `\n  -> ${fix}`}\n`);
    else if (state === 'warning') log.warn({ check: name, fix }, message);
  if (checks.some(({ state }) => state === 'error')) return 1;
  // Jobs that ask for less than they may still run on a small machine.
  for (const { name, state, message, fix } of await checkCapacity(settings))
    if (state !== 'ok') log.warn({ check: name, fix }, message);

  const executor = await startExecutor({
    settings,
    runtime,
    executorName,
    env,
    secrets,
    log,
    onConnected: () =>
      out(
        `executor ${executorName} (Kiln ${kilnVersion}) works for ${settings.frontendUrl.href}, queues: ${settings.queues.names.join(', ')}, isolation: ${isolationText(runtime)}\n`,
      ),
  });
  let signals = 0;
  const forced = Promise.withResolvers<void>();
  onSignal((name) => {
    signals++;
    if (signals === 1) {
      out(
        `${name}: taking no more jobs; running ones are finished. Once more to give them back and end now.\n`,
      );
      executor.drain(`stopped by ${name}`);
    } else if (signals === 2) {
      executor.shutDown();
      setTimeout(forced.resolve, shutDownSeconds * 1000).unref();
    }
  });
  const ended = await Promise.race([executor.ended, forced.promise]);
  if (ended === undefined) {
    log.error({ seconds: shutDownSeconds }, 'could not give all jobs back in time');
    return 0;
  }
  out(`executor ${executorName} ended: ${ended.because}\n`);
  return ended.connected ? 0 : 1;
}

function isolationText({ isolation }: Runtime): string {
  return [isolation.runtime, isolation.vmm, isolation.accelerator]
    .filter((part) => part !== undefined)
    .join(', ');
}
