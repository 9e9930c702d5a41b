import type { QueueName } from '@kiln/protocol';
import type { JobClient } from '../client/index.ts';
import type { Settings } from '../env/index.ts';
import type { StateDirectory } from '../janitor/index.ts';
import type { Outbox } from '../outbox/index.ts';
import type { Logger, SecretRegister } from '../process-log/index.ts';
import type { Runtime, SandboxLimits } from '../runtimes/runtime.ts';
import type { WorkspaceRoot } from '../workspace/index.ts';

export type JobSettings = Pick<
  Settings,
  | 'allowHostSrc'
  | 'dockerAuthConfig'
  | 'jobAuditLogging'
  | 'jobLogLimitBytes'
  | 'keepWorkspaces'
  | 'maximumRuntimePerJobSeconds'
  | 'sharedSecret'
>;

/** What the jobs of one executor share. */
export interface JobSurroundings {
  settings: JobSettings;
  executorName: string;
  runtime: Runtime;
  /** What a job gets at most. */
  limits: SandboxLimits;
  workspaceRoot: WorkspaceRoot;
  state: StateDirectory;
  outbox: Outbox;
  secrets: SecretRegister;
  processLog: Logger;
  /** Told of each logged command that has ended. */
  onCommand(logKey: string, seconds: number, exitCode: number): void;
  /** `HOME`, `PATH`, `USER` and `DOCKER_HOST`. */
  hostEnvironment: Readonly<Record<string, string>>;
  /** Where registry credentials of the executor's user are looked for; undefined: nowhere. */
  homeDirectory: string | undefined;
}

/** What one run of a job is given. */
export interface JobContext extends JobSurroundings {
  client: JobClient;
  queue: QueueName;
  /** The instance has heard of the job's end: it need not hear of the job any more. */
  onReported(): void;
  /** Aborts with a JobStop. */
  stop: AbortSignal;
}
