export { startRounds } from './rounds.ts';
export { openStateDirectory, type StateDirectory } from './state-directory.ts';
export { type SweepOptions, sweepDeadExecutors } from './sweep.ts';
