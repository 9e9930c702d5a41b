import type { DockerAuthConfig, Isolation, Network, Usage } from '@kiln/protocol';

/** One thing of this machine that a runtime needs, as it was found. */
export interface Finding {
  /** What was looked at, in a word: `kvm`, `nftables`. */
  check: string;
  severity: 'ok' | 'warning' | 'error';
  message: string;
  /** What to do about it; empty when all is well. */
  fix: string;
}

/** How steps are isolated: `microvm`, `docker`. One per executor process, chosen at start. */
export interface Runtime {
  readonly name: string;
  /** Shown on the executor's row and on every job. */
  readonly isolation: Isolation;
  validate(signal: AbortSignal): Promise<Finding[]>;
  /** Runs a step, where that shows more than {@link validate} does; takes its time. Asked for only after that found no error. */
  tryOut?(signal: AbortSignal): Promise<Finding[]>;
  /**
   * Makes the sandbox of one job. Everything it makes is named after job and attempt and recorded before it exists,
   * so that {@link sweep} finds it after a crash.
   * @throws SandboxError with a cause for people
   */
  create(job: SandboxJob, signal: AbortSignal): Promise<Sandbox>;
  /** Removes what crashed or killed predecessors of this executor left behind; never anything it does not own. */
  sweep(signal: AbortSignal): Promise<void>;
  /** For metrics: sandboxes that are on the machine now, and those that {@link sweep} has removed so far. */
  counts?(): { open: number; orphansRemoved: number };
}

export interface SandboxJob {
  id: number;
  attempt: number;
  /** Host directory that becomes `/data` in every step. */
  workspaceDirectory: string;
  /** Images of all steps, as far as they are known: a runtime may fetch them before the first step. */
  images: readonly string[];
  network: Network;
  limits: SandboxLimits;
  /** Credentials for step images, already chosen by precedence. */
  registryAuth: DockerAuthConfig;
  /** One line for the job's log: notices such as clamped CPUs, pull progress, blocked flows. Not yet redacted. */
  notice(line: string): void;
}

export interface SandboxLimits {
  /** 0: no limit. */
  numCPUs: number;
  /** 0: no limit. */
  memoryBytes: number;
  diskBytes: number;
}

export interface SandboxStep {
  /** Names containers and log entries: the step's key, or its index. */
  name: string;
  image: string;
  /** Path of the script below the workspace, with `/`. Run by `/bin/sh`. */
  scriptPath: string;
  /** Working directory below the workspace; `''` is its root. */
  dir: string;
  /** `NAME=value` each; values may hold newlines. */
  env: string[];
}

/** Receives a step's output as it comes, in order of arrival, streams kept apart. Backpressure: awaited before more is read. */
export interface StepStreams {
  write(stream: 'stdout' | 'stderr', bytes: Uint8Array): Promise<void>;
}

export interface StepResult {
  /** 0-255; -1 when it was killed. */
  exitCode: number;
  /** Why Kiln killed it (disk, memory, ...), in words for people; absent when it ended by itself or by abort. */
  killedBecause?: string;
  usage: Omit<Usage, 'key'>;
}

/** One job's instance of a runtime. */
export interface Sandbox extends AsyncDisposable {
  /** The equivalent command line, for the log. */
  commandLine(step: SandboxStep): string[];
  /**
   * Runs a step to its end. When `signal` aborts, everything the step started is killed before this resolves (exitCode -1).
   * @throws SandboxError when it could not be started at all (no such image, daemon gone, ...), or, as `stepBegun`, when
   *   nobody can say how it ended
   */
  run(step: SandboxStep, streams: StepStreams, signal: AbortSignal): Promise<StepResult>;
  /** A file of the workspace as steps left it, or undefined; refuses links, non-files and more than `maxBytes`. */
  readFile(path: string, maxBytes: number): Promise<Uint8Array | undefined>;
  /**
   * Removes a file of the workspace's root, or a link; a directory stays.
   * @returns whether there was anything of that name
   */
  removeFile(name: string): Promise<boolean>;
  /**
   * Kills what still runs: from then on nothing of the sandbox touches the workspace. What is left of it is in nobody's
   * way, and disposing removes it; a runtime in which that takes no time of its own has no need of this.
   */
  close?(): Promise<void>;
  /** Kills what still runs and removes all of the sandbox. Never throws for what is already gone. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** A sandbox could not be made or used; the message is for the job's owner. */
export class SandboxError extends Error {
  override readonly name = 'SandboxError';
  /** This machine is at fault: another executor may do better. */
  readonly infrastructure: boolean;
  /** The step may have begun, so its effects may be out: it must not be run again as if nothing had happened. */
  readonly stepBegun: boolean;
  constructor(message: string, options: { infrastructure: boolean; stepBegun?: boolean; cause?: unknown }) {
    super(message, { cause: options.cause });
    this.infrastructure = options.infrastructure;
    this.stepBegun = options.stepBegun ?? false;
  }
}
