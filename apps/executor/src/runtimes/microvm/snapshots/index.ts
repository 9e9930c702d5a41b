export { makeSnapshot } from './make-snapshot.ts';
export { openSnapshots, type Snapshots } from './snapshots.ts';
