/** Another Postgres queue, run in this process on the same server as Kiln's, so that figures of one run compare. */
export interface Peer {
  name: string;
  /** The settings it ran with, for the report. */
  settings(clients: number): string;
  /** Fetches and completes `jobs` empty jobs, all queued before the clock starts. @returns seconds */
  run(options: { connectionString: string; jobs: number; clients: number }): Promise<number>;
}
