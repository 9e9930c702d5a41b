import type { LogEvent } from '@kiln/protocol';
import type { JobEvent, Logs } from '../../logs/index.ts';

/** A job's log as it is now, as the events that following it would give. `end` only when the job has ended. */
export async function* logSnapshot(
  logs: Pick<Logs, 'entries' | 'output'>,
  options: { jobId: number; attempt: number | undefined; job: JobEvent; ended: boolean },
): AsyncGenerator<{ event: LogEvent }> {
  const { jobId, attempt, job, ended } = options;
  yield { event: { event: 'job', data: job } };
  for (const entry of await logs.entries(jobId, attempt)) {
    yield { event: { event: 'entry', data: { ...entry, exitCode: null, durationMs: null } } };
    const output = await logs.output({ jobId, attempt: entry.attempt, entry: entry.entry });
    let offset = 0;
    for await (const piece of output?.body ?? []) {
      const data = { attempt: entry.attempt, entry: entry.entry, offset, data: piece.toString('base64') };
      yield { event: { event: 'output', data } };
      offset += piece.length;
    }
    if (entry.exitCode !== null || entry.durationMs !== null)
      yield { event: { event: 'entry', data: entry } };
  }
  if (ended) yield { event: { event: 'end', data: { state: job.state } } };
}
