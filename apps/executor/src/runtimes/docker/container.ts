import { setTimeout as wait } from 'node:timers/promises';
import { z } from 'zod';
import { type Engine, enginePath } from './engine.ts';
import { EngineError, EngineUnreachable, isGone } from './engine-errors.ts';

/** Longer than any job may run; the wait itself has no limit. */
const endlessSeconds = 20 * 24 * 3600;
/** A daemon that restarts is back well within this. */
const maxKillSeconds = 60;
const killRetryMilliseconds = 500;
/** For a canceled step to end by itself (SIGTERM) before it is killed. */
const graceMilliseconds = 500;

const stateSchema = z.object({
  State: z.object({
    Running: z.boolean(),
    ExitCode: z.number(),
    OOMKilled: z.boolean(),
    Error: z.string().optional(),
  }),
  SizeRw: z.number().optional(),
  Mounts: z.array(z.object({ Type: z.string(), Source: z.string().optional() })).optional(),
});

export interface ContainerState {
  running: boolean;
  exitCode: number;
  outOfMemory: boolean;
  layerBytes: number;
  /** Host directories of volumes that the image declares. */
  volumes: string[];
}

export async function inspectContainer(
  engine: Engine,
  name: string,
  options: { size: boolean; signal?: AbortSignal },
): Promise<ContainerState> {
  const answer = await engine.json(
    {
      method: 'GET',
      path: `/containers${enginePath(name)}/json`,
      query: options.size ? { size: 'true' } : {},
      deadlineSeconds: 60,
      signal: options.signal,
    },
    stateSchema,
  );
  return {
    running: answer.State.Running,
    exitCode: answer.State.ExitCode,
    outOfMemory: answer.State.OOMKilled,
    layerBytes: answer.SizeRw ?? 0,
    volumes: (answer.Mounts ?? []).flatMap((mount) =>
      mount.Type === 'volume' && mount.Source ? [mount.Source] : [],
    ),
  };
}

/** Resolves when the container has ended, at once when it has already. */
export async function containerEnd(engine: Engine, name: string): Promise<void> {
  await engine.send({
    method: 'POST',
    path: `/containers${enginePath(name)}/wait`,
    deadlineSeconds: endlessSeconds,
  });
}

/**
 * Ends everything in a container: asks first where `gently`, kills then. Tries again while the daemon cannot be reached.
 * @throws EngineUnreachable when it stays away
 */
export async function endContainer(
  engine: Engine,
  name: string,
  options: { gently: boolean; ended: Promise<unknown> },
): Promise<void> {
  if (options.gently) {
    await signalContainer(engine, name, 'SIGTERM').catch(() => undefined);
    const grace = new AbortController();
    await Promise.race([
      options.ended.catch(() => undefined),
      wait(graceMilliseconds, undefined, { signal: grace.signal }).catch(() => undefined),
    ]);
    grace.abort();
  }
  const begin = performance.now();
  for (;;) {
    try {
      await signalContainer(engine, name, 'SIGKILL');
      return;
    } catch (error) {
      if (!(error instanceof EngineUnreachable) || performance.now() - begin > maxKillSeconds * 1000)
        throw error;
      await wait(killRetryMilliseconds);
    }
  }
}

/** Removes a container with its anonymous volumes, whether it runs or not; one that is gone is fine. */
export async function removeContainer(engine: Engine, name: string): Promise<void> {
  try {
    await engine.send({
      method: 'DELETE',
      path: `/containers${enginePath(name)}`,
      query: { force: 'true', v: 'true' },
      deadlineSeconds: 60,
    });
  } catch (error) {
    const isOnItsWay = error instanceof EngineError && error.status === 409;
    if (!isGone(error) && !isOnItsWay) throw error;
  }
}

async function signalContainer(engine: Engine, name: string, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  try {
    await engine.send({
      method: 'POST',
      path: `/containers${enginePath(name)}/kill`,
      query: { signal },
      deadlineSeconds: 15,
    });
  } catch (error) {
    // 409: it does not run (any more).
    if (isGone(error) || (error instanceof EngineError && error.status === 409)) return;
    throw error;
  }
}
