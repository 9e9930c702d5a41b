/**
 * Why a running job is stopped from outside:
 * - `cancel`: the instance asked for it
 * - `lost`: the instance no longer counts it as ours; nothing may be reported any more
 * - `timeout`: it ran past its limit
 * - `shutdown`: the executor is told to end at once
 */
export type JobStopKind = 'cancel' | 'lost' | 'timeout' | 'shutdown';

/** The reason with which a job's signal aborts. */
export class JobStop extends Error {
  override readonly name = 'JobStop';
  readonly kind: JobStopKind;
  constructor(kind: JobStopKind) {
    super(`the job was stopped: ${kind}`);
    this.kind = kind;
  }
}

/** @returns undefined while the signal has not aborted */
export function stopKind(signal: AbortSignal): JobStopKind | undefined {
  if (!signal.aborted) return undefined;
  return signal.reason instanceof JobStop ? signal.reason.kind : 'shutdown';
}
