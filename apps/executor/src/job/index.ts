export type { JobContext, JobSurroundings } from './context.ts';
export type { JobEnd } from './failure.ts';
export { runJob } from './run-job.ts';
export { JobStop, type JobStopKind } from './stop.ts';
