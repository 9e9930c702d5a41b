import type { Waiting } from '@kiln/protocol';
import type { JobRow } from '../../queue/index.ts';
import type { QueueCapacity } from '../executors/index.ts';

/** What decides why a queued job is not running. */
export interface WaitingFacts {
  /** Executors that could take jobs of its queue. */
  capacity: QueueCapacity;
  /** Jobs of its lane that are claimed before it; counted up to 10,000. */
  ahead: number;
  now: Date;
}

const countedUpTo = 10_000;

/** Why a queued job waits; null when it does not. */
export function waitingReason(
  job: Pick<JobRow, 'state' | 'queue' | 'needsLimits' | 'availableAt'>,
  facts: WaitingFacts,
): Waiting | null {
  if (job.state !== 'queued') return null;
  const { ahead, now } = facts;
  const { executors, withLimits } = facts.capacity;
  if (job.availableAt !== null && job.availableAt > now) {
    return {
      code: 'delayed',
      message: `It is offered again at ${job.availableAt.toISOString()}`,
      ahead: null,
    };
  }
  if (executors === 0) {
    return {
      code: 'no_executor',
      message: `No active executor serves the queue "${job.queue}"`,
      ahead,
    };
  }
  if (job.needsLimits && withLimits === 0) {
    return {
      code: 'needs_extension',
      message: `It sets "network" or "resources", which need an executor with the extension "limits"; none of the ${executors} that serve the queue "${job.queue}" has it`,
      ahead,
    };
  }
  if (ahead > 0) {
    const jobs = ahead === 1 ? '1 job' : `${ahead >= countedUpTo ? 'At least ' : ''}${ahead} jobs`;
    return {
      code: 'behind',
      message: `${jobs} of the same namespace in the queue "${job.queue}" will be claimed before it`,
      ahead,
    };
  }
  return {
    code: 'executors_busy',
    message: `It is the next of its namespace; ${executors === 1 ? 'the executor that serves' : `all ${executors} executors that serve`} the queue "${job.queue}" ${executors === 1 ? 'is' : 'are'} busy`,
    ahead: 0,
  };
}
