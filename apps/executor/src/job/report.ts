import type { JobDocument, Usage } from '@kiln/protocol';
import { isInstanceError, withRetries } from '../client/index.ts';
import type { JobLog } from '../logs/index.ts';
import type { JobContext } from './context.ts';
import type { JobEnd } from './failure.ts';
import { stopKind } from './stop.ts';

/** The instance keeps failure messages whole; this is far more than a person reads. */
const longestMessage = 8000;

/**
 * Completes the log and tells the instance how the job ended. The outcome is on disk before the log is waited for, so
 * that an executor killed meanwhile still has it delivered by its successor.
 */
export async function report(
  document: JobDocument,
  end: JobEnd,
  usage: readonly Usage[],
  log: JobLog,
  context: JobContext,
): Promise<void> {
  if (end.kind === 'lost') {
    log.abandon();
    await log.close();
    return;
  }
  if (end.kind === 'release') {
    const { message } = end;
    if (context.client.offers('release')) {
      await log.close();
      await release(end.reason, message, document.id, context);
      return;
    }
    if (end.reason === 'shutdown') {
      // A plain instance has no way to take a job back: it finds out by the missing heartbeats.
      log.abandon();
      await log.close();
      return;
    }
    await reportMark(document, { kind: 'markErrored', message }, usage, log, context);
    return;
  }
  await reportMark(document, end, usage, log, context);
}

async function reportMark(
  document: JobDocument,
  end: Extract<JobEnd, { kind: 'markComplete' | 'markErrored' | 'markFailed' }>,
  usage: readonly Usage[],
  log: JobLog,
  context: JobContext,
): Promise<void> {
  const posted = await context.outbox.post({
    id: document.id,
    queue: context.queue,
    ...(document.attempt === undefined ? {} : { attempt: document.attempt }),
    token: document.token,
    executorName: context.executorName,
    kind: end.kind,
    ...('message' in end ? { errorMessage: end.message.slice(0, longestMessage) } : {}),
    usage: [...usage],
  });
  // The rest of the log is not worth the wait when the job is lost or the executor is told to end; a cancel changes nothing now.
  const stopped = () => {
    if (stopKind(context.stop) !== 'cancel') log.abandon();
  };
  context.stop.addEventListener('abort', stopped, { once: true });
  await log.close();
  context.stop.removeEventListener('abort', stopped);
  if (stopKind(context.stop) === 'lost') await posted.withdraw();
  else await posted.deliver();
}

async function release(
  reason: 'infrastructure' | 'shutdown',
  message: string,
  jobId: number,
  context: JobContext,
): Promise<void> {
  try {
    await withRetries(
      () =>
        context.client.release(
          { reason, message: message.slice(0, longestMessage) },
          AbortSignal.timeout(15_000),
        ),
      { forSeconds: 10, maxDelaySeconds: 2 },
      AbortSignal.timeout(15_000),
    );
  } catch (error) {
    // The lease runs out by itself.
    const cause = isInstanceError(error) || error instanceof Error ? error.message : String(error);
    context.processLog.warn({ job: jobId, reason, cause }, 'could not give a job back');
  }
}
