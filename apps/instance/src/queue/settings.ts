/** A claim without a sign of life for this long may be claimed by another executor (genuine executors beat each 5 s). */
export const leaseSeconds = 25;
/** A sign of life renews a lease that has less than this left; in between (a log write each second) the row is only read. */
export const renewBelowSeconds = 23;
/** An executor with the `confirm` extension calls at once; if it did not, the reply to its dequeue was lost. */
export const confirmSeconds = 10;
/** Unconfirmed claims in a row that count as a reset: a job that breaks executors must not go round for ever. */
export const unconfirmedPerReset = 3;
/** Resets after which a job fails instead of being given out again. */
export const maxResets = 3;
/** How long after a job's own time limit, which its executor enforces, the instance steps in. */
export const deadlineGraceSeconds = 30;
/** How long a canceled job may go on before it ends without its executor. */
export const cancelPatienceSeconds = 300;
/** How long the same mark is accepted again. */
export const repeatHours = 24;

export const sweepIntervalMilliseconds = 1000;
/** An instance leaves out its sweep when another one swept within this time: each reads every running job. */
export const sweepShareSeconds = 0.8;
/** A longer time between two beats means that no instance ran, so no executor could call. */
export const maxBeatGapSeconds = 5;
/** What executors get beyond the gap, to find the instance again. */
export const gapGraceSeconds = 30;
/** No lease reaches further: the lease, the grace, and some seconds for a sweep that is late. */
export const maxLeaseSeconds = leaseSeconds + gapGraceSeconds + 10;

/** Waiting dequeues look again this often even if no notification came. */
export const safetyClaimMilliseconds = 5000;
/** Watchers of jobs look again this often: an instance may crash between a change and its notification. */
export const safetyRefreshMilliseconds = 5000;

/** The queue that is served when several have jobs, in these proportions. */
export const queueWeights = { batches: 4, codeintel: 1, jobs: 4 } as const;
