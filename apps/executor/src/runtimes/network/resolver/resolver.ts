import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Command, type Report, reportSchema } from './commands.ts';
import type { LookupJob } from './job-lookups.ts';

export interface LookupRequest {
  /** Names the job; its network's table. */
  job: string;
  lookups: LookupJob;
  /** Where the gateway is; undefined: in this process's own network namespace. */
  networkNamespace: string | undefined;
  /** The job's network outlives this process. */
  outlives: boolean;
  /** Writes a line into the job's log. */
  notice(line: string): void;
}

/** Answers the lookups of this executor's jobs, in a process without any rights. */
export interface Resolver extends AsyncDisposable {
  /**
   * Answers a job's lookups from now on, until its gateway is gone.
   * @returns the port of the gateway on which they are answered
   * @throws ResolverError
   */
  serve(request: LookupRequest): Promise<number>;
}

class ResolverError extends Error {
  override readonly name = 'ResolverError';
}

interface Program {
  child: ChildProcess;
  /** What it was told, by job, with the port that it has. */
  jobs: Map<string, LookupRequest & { port: number }>;
  waiting: Map<string, (answer: Answer) => void>;
}

/** What became of a command. */
type Answer = Extract<Report, { port: number } | { failed: string }>;

const answerSeconds = 30;
const endMilliseconds = 3000;
const restartMilliseconds = 1000;
const environment = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };

/** @param warn told when the program ended by itself; it is started again */
export function createResolver(warn: (message: string, error: unknown) => void): Resolver {
  /** By network namespace. */
  const programs = new Map<string, Program>();
  let isDisposed = false;

  function programIn(networkNamespace: string | undefined): Program {
    const key = networkNamespace ?? '';
    const running = programs.get(key);
    if (running !== undefined) return running;
    const program: Program = { child: start(networkNamespace), jobs: new Map(), waiting: new Map() };
    programs.set(key, program);
    const complaints = tailOf(program.child);
    createInterface({ input: program.child.stdout ?? process.stdin }).on('line', (line) =>
      take(program, line),
    );
    const onEnd = (how: string): void => {
      programs.delete(key);
      for (const [job, settle] of program.waiting) settle({ job, failed: `it ended (${how})` });
      if (isDisposed) return;
      warn('the program that answers lookups ended', new ResolverError(`${how} ${complaints()}`.trim()));
      restore([...program.jobs.values()]).catch((error) => warn('lookups are not answered', error));
    };
    program.child.once('error', (error) => onEnd(error.message));
    program.child.once('exit', (code, signal) => onEnd(signal ?? `status ${code}`));
    return program;
  }

  /** The rules of networks that exist lead to the ports that they had. */
  async function restore(jobs: readonly (LookupRequest & { port: number })[]): Promise<void> {
    if (jobs.length === 0) return;
    await wait(restartMilliseconds, undefined, { ref: false });
    if (isDisposed) return;
    // One whose network is gone by now cannot be served, and needs not be.
    await Promise.allSettled(jobs.map((request) => tell(request, request.port)));
  }

  async function tell(request: LookupRequest, port: number): Promise<number> {
    const program = programIn(request.networkNamespace);
    const { job, lookups, outlives } = request;
    const { promise, resolve } = Promise.withResolvers<Answer>();
    // Also keeps this process alive meanwhile: the program alone does not.
    const timer = setTimeout(
      () => resolve({ job, failed: `no answer within ${answerSeconds} s` }),
      answerSeconds * 1000,
    );
    program.waiting.set(job, resolve);
    try {
      const command: Command = { job, lookups, port, outlives };
      program.child.stdin?.write(`${JSON.stringify(command)}\n`);
      const report = await promise;
      if (!('port' in report))
        throw new ResolverError(`lookups cannot be answered on ${lookups.gateway}: ${report.failed}`);
      program.jobs.set(job, { ...request, port: report.port });
      return report.port;
    } finally {
      clearTimeout(timer);
      program.waiting.delete(job);
    }
  }

  return {
    serve: (request) => tell(request, 0),
    async [Symbol.asyncDispose]() {
      isDisposed = true;
      const all = [...programs.values()];
      await Promise.all(
        all.map(async ({ child, jobs }) => {
          const exited = once(child, 'exit');
          child.stdin?.end();
          // It stays for a network that outlives this process.
          if ([...jobs.values()].some(({ outlives }) => outlives)) return;
          // This process waits for it now, and has nothing else to do any more.
          child.ref();
          const isOver = await Promise.race([exited, wait(endMilliseconds, undefined, { ref: false })]);
          if (isOver === undefined) child.kill('SIGKILL');
          await exited;
        }),
      );
    },
  };
}

function take(program: Program, line: string): void {
  const report = reportSchema.safeParse(parsed(line)).data;
  if (report === undefined) return;
  // Others may still tell of what the job had before.
  if ('port' in report || 'failed' in report) program.waiting.get(report.job)?.(report);
  if ('ended' in report) program.jobs.delete(report.job);
  if ('removed' in report) {
    const { name, address } = report.removed;
    const request = program.jobs.get(report.job);
    request?.notice(
      `lookup of ${name}: ${address} was removed from the answer, since the job may not reach it`,
    );
  }
}

function start(networkNamespace: string | undefined): ChildProcess {
  const command = [
    ...(networkNamespace === undefined ? [] : ['nsenter', `--net=${networkNamespace}`, '--']),
    process.execPath,
    // It reads its own files only, and starts nothing.
    ...[
      '--permission',
      '--allow-fs-read=*',
      '--max-old-space-size=64',
      '--disable-warning=ExperimentalWarning',
    ],
    fileURLToPath(import.meta.resolve('./main.ts')),
  ];
  const [program = '', ...parameters] = command;
  const child = spawn(program, parameters, {
    cwd: '/',
    env: environment,
    stdio: ['pipe', 'pipe', 'pipe'],
    // Signals to the executor's group (an interrupt at a terminal) are none of its: jobs go on until they are stopped.
    detached: true,
  });
  child.stdin.on('error', () => undefined);
  // Nothing of it keeps this process from ending; that ends it.
  child.unref();
  for (const stream of [child.stdin, child.stdout, child.stderr])
    if ('unref' in stream && typeof stream.unref === 'function') stream.unref();
  return child;
}

/** For messages: what it complained of last. */
function tailOf(child: ChildProcess): () => string {
  let text = '';
  child.stderr?.setEncoding('utf8').on('data', (more: string) => {
    text = (text + more).slice(-1000);
  });
  return () => text.trim();
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
