import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Readable } from 'node:stream';
import type { SubmitJob } from '@kiln/protocol';
import { CliError } from './errors.ts';
import type { Invocation } from './invocation.ts';

/** What `kiln job submit` was given; each option overrides or adds to the job read from `file`. */
export interface SubmitOptions {
  file?: string;
  image?: string;
  step: string[];
  repo?: string;
  rev?: string;
  dir?: string;
  env: string[];
  put: string[];
  secret: string[];
  depth?: number;
  tags?: true;
  sparse: string[];
  timeout?: string;
  priority?: number;
  namespace?: string;
  network?: string;
  cpus?: number;
  memory?: string;
  disk?: string;
  trace?: true;
  queue?: string;
}

type Draft = Record<string, unknown>;

/**
 * The body of `POST /.api/jobs`. Only what the options themselves say is checked here; the job as a whole is the
 * instance's to judge, because it may know more than this program does.
 */
export async function buildSubmission(
  options: SubmitOptions,
  command: readonly string[],
  invocation: Pick<Invocation, 'env' | 'cwd' | 'stdin'>,
): Promise<Draft> {
  const draft: Draft = options.file === undefined ? {} : await readJob(options.file, invocation);
  const steps = [...options.step.map(parseStep), ...commandStep(options.image, command)].map((step) => ({
    ...step,
    ...(options.dir === undefined ? {} : { dir: options.dir }),
  }));
  if (steps.length > 0) draft['steps'] = [...list(draft['steps']), ...steps];
  if (list(draft['steps']).length === 0) {
    throw new CliError('there is nothing to run', {
      hint: 'name an image and a command: kiln job submit --image busybox -- echo hello',
    });
  }
  const env = Object.fromEntries(options.env.map((pair) => parseEnv(pair, invocation.env)));
  if (options.env.length > 0) {
    draft['steps'] = list(draft['steps']).map((step) => ({
      ...fields(step),
      env: { ...env, ...fields(fields(step)['env']) },
    }));
  }
  const files = await Promise.all(options.put.map((pair) => readPut(pair, invocation)));
  merge(draft, 'files', Object.fromEntries(files));
  merge(draft, 'clone', {
    depth: options.depth,
    tags: options.tags,
    sparse: options.sparse.length > 0 ? options.sparse : undefined,
  });
  merge(draft, 'resources', { numCPUs: options.cpus, memory: options.memory, disk: options.disk });
  set(draft, {
    repository: options.repo,
    revision: options.rev,
    secrets: options.secret.length > 0 ? [...list(draft['secrets']), ...options.secret] : undefined,
    timeout: options.timeout,
    priority: options.priority,
    namespace: options.namespace,
    network: options.network,
    trace: options.trace,
    queue: options.queue,
  });
  return draft;
}

/** `IMAGE: SCRIPT`. No image reference holds a colon followed by a blank. */
export function parseStep(text: string): SubmitJob['steps'][number] {
  const match = /^\s*(\S+?):\s+(\S[\s\S]*)$/.exec(text);
  if (!match?.[1] || !match[2]) {
    throw new CliError(`--step ${JSON.stringify(text)} is not "IMAGE: SCRIPT"`, {
      hint: "write it like --step 'busybox: echo hello'",
    });
  }
  return { image: match[1], run: match[2].trimEnd() };
}

/**
 * One word is a script, as for `sh -c`; several are a command whose words reach it exactly as they are, as for
 * `docker run`. A step is always a shell script, so they are quoted into one.
 */
export function commandStep(image: string | undefined, command: readonly string[]): SubmitJob['steps'] {
  if (command.length === 0) {
    if (image === undefined) return [];
    throw new CliError('--image needs a command', { hint: `kiln job submit --image ${image} -- COMMAND...` });
  }
  if (image === undefined) {
    throw new CliError('the command needs an image to run in', {
      hint: `kiln job submit --image IMAGE -- ${command.join(' ')}`,
    });
  }
  return [{ image, run: command.length === 1 ? (command[0] ?? '') : command.map(quoteForShell).join(' ') }];
}

function quoteForShell(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** `NAME=value`, or `NAME` for the value it has here: that one keeps it out of the list of processes. */
function parseEnv(pair: string, env: Invocation['env']): [string, string] {
  const equals = pair.indexOf('=');
  if (equals > 0) return [pair.slice(0, equals), pair.slice(equals + 1)];
  const value = equals < 0 ? env[pair] : undefined;
  if (value === undefined) {
    throw new CliError(`--env ${JSON.stringify(pair)} names no variable that is set here`, {
      hint: 'write --env NAME=VALUE, or --env NAME for a variable of your own environment',
    });
  }
  return [pair, value];
}

/** `PATH_IN_WORKSPACE=LOCAL_FILE`, or one path for both. */
async function readPut(
  pair: string,
  { cwd }: Pick<Invocation, 'cwd'>,
): Promise<[string, { base64: string }]> {
  const equals = pair.indexOf('=');
  const target = equals < 0 ? pair : pair.slice(0, equals);
  const source = path.resolve(cwd, equals < 0 ? pair : pair.slice(equals + 1));
  try {
    return [target, { base64: (await readFile(source)).toString('base64') }];
  } catch (error) {
    throw new CliError(`cannot read ${source} for --put ${JSON.stringify(pair)}: ${reason(error)}`, {
      cause: error,
    });
  }
}

async function readJob(file: string, { cwd, stdin }: Pick<Invocation, 'cwd' | 'stdin'>): Promise<Draft> {
  const name = file === '-' ? 'standard input' : path.resolve(cwd, file);
  let value: unknown;
  try {
    value = JSON.parse(file === '-' ? await readAll(stdin) : await readFile(name, 'utf8'));
  } catch (error) {
    throw new CliError(`cannot read a job from ${name}: ${reason(error)}`, { cause: error });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new CliError(`${name} holds no job: a JSON object with "steps" is needed`, {
      hint: '{"steps": [{"image": "busybox", "run": "echo hello"}]}',
    });
  }
  return { ...value };
}

/** Far above what an instance accepts, so that a wrong pipe ends with an answer and not with all memory gone. */
const maxStdinBytes = 64 * 1024 * 1024;

async function readAll(stdin: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stdin) {
    const bytes = Buffer.from(chunk as Uint8Array | string);
    size += bytes.length;
    if (size > maxStdinBytes) throw new Error('it is larger than 64 MiB');
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function set(draft: Draft, values: Draft): void {
  for (const [key, value] of Object.entries(values)) if (value !== undefined) draft[key] = value;
}

function merge(draft: Draft, key: string, values: Draft): void {
  if (Object.values(values).every((value) => value === undefined)) return;
  const merged = { ...fields(draft[key]) };
  set(merged, values);
  draft[key] = merged;
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function fields(value: unknown): Draft {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {};
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
