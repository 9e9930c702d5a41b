import {
  dockerAuthSecretKey,
  type JobResources,
  type Network,
  parseByteSize,
  parseDuration,
  type QueueName,
  type SubmitJob,
} from '@kiln/protocol';
import { ApiError } from '../../api-error.ts';
import { checkTogether, FilePathError, normalizeFilePath } from './file-paths.ts';

/** What is kept of a submission to build its document: checked, defaults filled in. */
export interface JobSpec {
  steps: { key: string | null; image: string; run: string; dir: string; env: Record<string, string> }[];
  clone: { shallow: boolean; tags: boolean; sparse: string[] };
  trace: boolean;
  network: Network | null;
  resources: JobResources | null;
  /** Keys of executor secrets, each once; absent in jobs of earlier versions. */
  secrets?: string[];
}

/** A submission that can become a job once its names (namespace, repository, revision) are resolved. */
export interface CheckedSubmission {
  spec: JobSpec;
  /** Contents by normalised path. */
  files: Map<string, Buffer>;
  repository: string | null;
  revision: string | null;
  namespace: string | undefined;
  queue: QueueName;
  priority: number;
  timeoutSeconds: number;
  needsLimits: boolean;
  /** Remarks that do not refuse it. */
  notices: string[];
}

const defaultTimeoutSeconds = 30 * 60;
const timeoutRangeSeconds = { min: 1, max: 7 * 24 * 3600 };
const memoryRangeBytes = { min: 16 * 1024 ** 2, max: 16 * 1024 ** 4 };
const diskRangeBytes = { min: 64 * 1024 ** 2, max: 64 * 1024 ** 4 };
const minCPUs = 0.1;

/**
 * Checks what the schema of a submission cannot say.
 * @throws ApiError 400 `invalid_job` naming every mistake
 */
export function checkSubmission(body: SubmitJob): CheckedSubmission {
  const mistakes: string[] = [];
  const attempt = <Value>(property: string, read: () => Value): Value | undefined => {
    try {
      return read();
    } catch (error) {
      if (error instanceof FilePathError) mistakes.push(error.message);
      else if (error instanceof RangeError) mistakes.push(`${property}: ${error.message}`);
      else throw error;
      return undefined;
    }
  };

  checkTexts(body, mistakes);
  const spec: JobSpec = {
    steps: body.steps.map((step, index) => ({
      key: step.key ?? null,
      image: step.image,
      run: step.run,
      dir: attempt(`steps[${index}].dir`, () => normalizeDirectory(step.dir ?? '')) ?? '',
      env: step.env ?? {},
    })),
    clone: {
      shallow: body.clone?.depth !== 0,
      tags: body.clone?.tags ?? false,
      sparse: body.clone?.sparse ?? [],
    },
    trace: body.trace ?? false,
    network: body.network ?? null,
    resources: body.resources === undefined ? null : readResources(body.resources, attempt),
    secrets: [...new Set(body.secrets)],
  };
  checkSteps(spec, mistakes);
  checkSecrets(spec, mistakes);
  if (body.clone?.depth !== undefined && body.clone.depth > 1) {
    mistakes.push('clone.depth: must be 1 (only the commit) or 0 (the whole history)');
  }
  for (const name of ['revision', 'clone'] as const) {
    if (body[name] !== undefined && body.repository === undefined) {
      mistakes.push(`${name}: needs a "repository"`);
    }
  }
  const { timeout } = body;
  const timeoutSeconds =
    (timeout === undefined ? undefined : attempt('timeout', () => readTimeout(timeout))) ??
    defaultTimeoutSeconds;
  const files = readFiles(body.files ?? {}, attempt, mistakes);

  if (mistakes.length > 0) throw new ApiError(400, 'invalid_job', listed(mistakes));
  const needsLimits = spec.network !== null || spec.resources !== null;
  return {
    spec,
    files,
    repository: body.repository ?? null,
    revision: body.revision ?? null,
    namespace: body.namespace,
    queue: body.queue ?? 'jobs',
    priority: body.priority ?? 0,
    timeoutSeconds,
    needsLimits,
    notices: needsLimits
      ? [
          '"network" and "resources" need an executor that knows the extension "limits": this job waits for one.',
        ]
      : [],
  };
}

/** Texts that no program can be given as an argument, a variable or a script, and that the database cannot keep. */
function checkTexts(body: SubmitJob, mistakes: string[]): void {
  const texts: [string, string | undefined][] = [
    ['repository', body.repository],
    ['revision', body.revision],
    ['namespace', body.namespace],
    ...(body.clone?.sparse ?? []).map((text, index): [string, string] => [`clone.sparse[${index}]`, text]),
    ...body.steps.flatMap((step, index): [string, string | undefined][] => [
      [`steps[${index}].image`, step.image],
      [`steps[${index}].run`, step.run],
      [`steps[${index}].dir`, step.dir],
      ...Object.entries(step.env ?? {}).map(([name, value]): [string, string] => [
        `steps[${index}].env.${name}`,
        value,
      ]),
    ]),
  ];
  for (const [property, text] of texts) {
    if (text === undefined) continue;
    if (text.includes('\0')) mistakes.push(`${property}: must not contain a NUL character`);
    else if (!text.isWellFormed()) mistakes.push(`${property}: is not valid Unicode text`);
  }
  for (const [index, pattern] of (body.clone?.sparse ?? []).entries()) {
    if (/[\r\n]/.test(pattern)) mistakes.push(`clone.sparse[${index}]: must be one line`);
  }
}

function checkSteps(spec: JobSpec, mistakes: string[]): void {
  const names = new Map<string, number>();
  for (const [index, step] of spec.steps.entries()) {
    // What a container engine would take for an option, or could not tell apart from the next argument in a log.
    if (/^-|[\s\p{Cc}]/u.test(step.image)) {
      mistakes.push(
        `steps[${index}].image: ${JSON.stringify(step.image)} is not the name of a container image`,
      );
    }
    const name = stepName(step.key, index);
    const other = names.get(name);
    if (other !== undefined) {
      mistakes.push(
        `steps[${index}].key: steps ${other} and ${index} are both called "${name}" (a step without "key" is called by its index)`,
      );
    }
    names.set(name, index);
  }
}

/** Secrets become variables of every step; one of the step's own would decide silently which of the two counts. */
function checkSecrets(spec: JobSpec, mistakes: string[]): void {
  for (const key of spec.secrets ?? []) {
    if (key === dockerAuthSecretKey) {
      mistakes.push(`secrets: ${key} applies without being asked for, and is never a variable of steps`);
    }
    for (const [index, step] of spec.steps.entries()) {
      if (Object.hasOwn(step.env, key))
        mistakes.push(`steps[${index}].env.${key}: is a secret of the job too`);
    }
  }
}

/** What a step is called in logs: its key, else its index. */
export function stepName(key: string | null, index: number): string {
  return key ?? String(index);
}

/** @throws RangeError */
function normalizeDirectory(dir: string): string {
  const components = dir.split('/').filter((component) => component !== '' && component !== '.');
  if (dir.startsWith('/')) throw new RangeError('must be relative to the repository, not absolute');
  if (components.includes('..')) throw new RangeError('must not leave the repository ("..")');
  return components.join('/');
}

/** Whole seconds. @throws RangeError */
function readTimeout(text: string): number {
  const seconds = Math.ceil(parseDuration(text));
  if (seconds >= timeoutRangeSeconds.min && seconds <= timeoutRangeSeconds.max) return seconds;
  throw new RangeError('must be between 1s and 168h');
}

type Attempt = <Value>(property: string, read: () => Value) => Value | undefined;

function readResources(
  resources: NonNullable<SubmitJob['resources']>,
  attempt: Attempt,
): JobResources | null {
  const read: JobResources = {};
  const { numCPUs, memory, disk } = resources;
  if (numCPUs !== undefined) {
    attempt('resources.numCPUs', () => {
      if (numCPUs < minCPUs) throw new RangeError(`must be at least ${minCPUs}`);
    });
    read.numCPUs = numCPUs;
  }
  if (memory !== undefined) {
    const bytes = attempt('resources.memory', () => readSize(memory, memoryRangeBytes, '16MiB and 16TiB'));
    if (bytes !== undefined) read.memoryBytes = bytes;
  }
  if (disk !== undefined) {
    const bytes = attempt('resources.disk', () => readSize(disk, diskRangeBytes, '64MiB and 64TiB'));
    if (bytes !== undefined) read.diskBytes = bytes;
  }
  return Object.keys(read).length === 0 ? null : read;
}

/** @throws RangeError */
function readSize(text: string, range: { min: number; max: number }, words: string): number {
  const bytes = parseByteSize(text);
  if (bytes >= range.min && bytes <= range.max) return bytes;
  throw new RangeError(`must be between ${words}`);
}

function readFiles(
  given: NonNullable<SubmitJob['files']>,
  attempt: Attempt,
  mistakes: string[],
): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  const entries = Object.entries(given);
  const paths: string[] = [];
  for (const [path, content] of entries) {
    const normalized = attempt('files', () => normalizeFilePath(path));
    if (normalized === undefined) continue;
    if (typeof content === 'string' && !content.isWellFormed()) {
      mistakes.push(
        `files: ${JSON.stringify(normalized)} is not valid Unicode text; send its bytes as {"base64": ...}`,
      );
    }
    paths.push(normalized);
    files.set(
      normalized,
      typeof content === 'string' ? Buffer.from(content, 'utf8') : Buffer.from(content.base64, 'base64'),
    );
  }
  attempt('files', () => checkTogether(paths));
  return files;
}

function listed(mistakes: readonly string[]): string {
  const shown = mistakes.slice(0, 20);
  if (mistakes.length > shown.length) shown.push(`and ${mistakes.length - shown.length} more`);
  return shown.join('; ');
}
