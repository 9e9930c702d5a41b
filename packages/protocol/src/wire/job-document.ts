import { z } from 'zod';
import type { DockerAuthConfig } from '../docker-auth.ts';
import type { QueueName } from '../queues.ts';
import { wireArray, wireBoolean, wireInteger, wireObject, wireText } from './decode.ts';

/** The time that stands for "not set" in `modifiedAt`. */
const unsetTime = '0001-01-01T00:00:00Z';

/** A file of the workspace: its bytes, or a reference to fetch from `/.executors/files/<bucket>/<key>`. */
export type JobFile = { modifiedAt?: string } & ({ content: Uint8Array } | { bucket: string; key: string });

export interface DockerStep {
  /** Names the step in logs (`step.docker.<key>`); without it the index does. */
  key: string;
  image: string;
  /** Lines of the step's script. */
  commands: string[];
  /** Relative to the workspace. */
  dir: string;
  /** `NAME=value` each. */
  env: string[];
}

export interface CliStep {
  key: string;
  /** Arguments after `src`. */
  command: string[];
  dir: string;
  env: string[];
}

export const networkSchema = z.enum(['public', 'none']);
export type Network = z.infer<typeof networkSchema>;

/** What a job asks for; absent numbers mean the executor's own setting. */
export interface JobResources {
  numCPUs?: number;
  memoryBytes?: number;
  diskBytes?: number;
}

/** What an executor receives at dequeue, independent of the document version on the wire (from the reference). */
export interface JobDocument {
  id: number;
  /** 40 lowercase hex characters; empty: use the shared secret. */
  token: string;
  /** Set for multi-queue dequeues only. */
  queue?: QueueName;
  /** Fencing number; absent from instances that do not know the `attempt` extension. */
  attempt?: number;
  /** Empty: nothing to clone. */
  repositoryName: string;
  /** Clone directory relative to the workspace; empty: its root. */
  repositoryDirectory: string;
  commit: string;
  fetchTags: boolean;
  shallowClone: boolean;
  /** Patterns; empty: the whole tree. */
  sparseCheckout: string[];
  /** By path relative to the workspace. Untrusted: may be absolute or escape it. */
  files: Record<string, JobFile>;
  dockerSteps: DockerStep[];
  cliSteps: CliStep[];
  /** Secret value -> what stands in its place in logs. */
  redactedValues: Record<string, string>;
  dockerAuthConfig: DockerAuthConfig;
  timeoutSeconds?: number;
  network?: Network;
  resources?: JobResources;
}

/**
 * Writes a document as version 1 or 2. Empty arrays are `null`, as genuine instances send them; version 1 carries
 * file contents as text, so bytes that are not UTF-8 need `bucket` and `key` there.
 */
export function renderJobDocument(document: JobDocument, version: 1 | 2): Record<string, unknown> {
  return {
    ...(version === 2 ? { version: 2 } : {}),
    id: document.id,
    token: document.token,
    ...(document.queue === undefined ? {} : { queue: document.queue }),
    ...(document.attempt === undefined ? {} : { attempt: document.attempt }),
    repositoryName: document.repositoryName,
    repositoryDirectory: document.repositoryDirectory,
    commit: document.commit,
    fetchTags: document.fetchTags,
    shallowClone: document.shallowClone,
    sparseCheckout: nullIfEmpty(document.sparseCheckout),
    files: Object.fromEntries(
      Object.entries(document.files).map(([path, file]) => [path, renderFile(file, version)]),
    ),
    dockerSteps: nullIfEmpty(
      document.dockerSteps.map((step) => ({
        ...(step.key === '' ? {} : { key: step.key }),
        image: step.image,
        commands: nullIfEmpty(step.commands),
        dir: step.dir,
        env: nullIfEmpty(step.env),
      })),
    ),
    cliSteps: nullIfEmpty(
      document.cliSteps.map((step) => ({
        ...(step.key === '' ? {} : { key: step.key }),
        command: nullIfEmpty(step.command),
        dir: step.dir,
        env: nullIfEmpty(step.env),
      })),
    ),
    redactedValues: Object.keys(document.redactedValues).length === 0 ? null : document.redactedValues,
    ...(document.timeoutSeconds === undefined ? {} : { timeoutSeconds: document.timeoutSeconds }),
    ...(document.network === undefined ? {} : { network: document.network }),
    ...(document.resources === undefined ? {} : { resources: document.resources }),
    ...(version === 2 ? { dockerAuthConfig: document.dockerAuthConfig } : {}),
  };
}

function renderFile(file: JobFile, version: 1 | 2): Record<string, unknown> {
  const modifiedAt = file.modifiedAt ?? unsetTime;
  if ('bucket' in file) return { bucket: file.bucket, key: file.key, modifiedAt };
  const content = Buffer.from(file.content).toString(version === 2 ? 'base64' : 'utf8');
  return content === '' ? { modifiedAt } : { content, modifiedAt };
}

function nullIfEmpty<Item>(items: Item[]): Item[] | null {
  return items.length === 0 ? null : items;
}

const wireFile = z.union([
  z.string(),
  wireObject({ content: wireText, bucket: wireText, key: wireText, modifiedAt: wireText }),
]);
/** Registries without an `auth` count as not there: a job must not fail over a registry that it may not even use. */
const wireAuths = z
  .record(z.string(), wireObject({ auth: wireText }).nullish())
  .transform((registries) =>
    Object.fromEntries(
      Object.entries(registries).flatMap(([registry, entry]) =>
        entry?.auth ? [[registry, { auth: entry.auth }] as const] : [],
      ),
    ),
  );
const wireDocument = wireObject({
  version: wireInteger,
  id: z.int(),
  token: wireText,
  queue: z.enum(['batches', 'codeintel', 'jobs']).optional(),
  attempt: z.int().positive().optional(),
  repositoryName: wireText,
  repositoryDirectory: wireText,
  commit: wireText,
  fetchTags: wireBoolean,
  shallowClone: wireBoolean,
  sparseCheckout: wireArray(z.string()),
  files: z
    .record(z.string(), wireFile)
    .nullish()
    .transform((value) => value ?? {}),
  dockerSteps: wireArray(
    wireObject({
      key: wireText,
      image: wireText,
      commands: wireArray(z.string()),
      dir: wireText,
      env: wireArray(z.string()),
    }),
  ),
  cliSteps: wireArray(
    wireObject({ key: wireText, command: wireArray(z.string()), dir: wireText, env: wireArray(z.string()) }),
  ),
  redactedValues: z
    .record(z.string(), z.string())
    .nullish()
    .transform((value) => value ?? {}),
  dockerAuthConfig: wireObject({ auths: wireAuths.nullish() })
    .nullish()
    .transform((value): DockerAuthConfig => (value?.auths ? { auths: value.auths } : {})),
  timeoutSeconds: z.number().positive().optional(),
  network: networkSchema.optional(),
  resources: wireObject({
    numCPUs: z.number().positive().optional(),
    memoryBytes: z.int().positive().optional(),
    diskBytes: z.int().positive().optional(),
  }).optional(),
});

/**
 * Reads a document of version 1 or 2, or of the oldest shape (files as plain strings), whatever was asked for:
 * missing fields and `null` arrays are empty. Paths, images and commands stay untrusted.
 * @throws z.ZodError
 */
export function parseJobDocument(body: unknown): JobDocument {
  const { version, files, queue, attempt, timeoutSeconds, network, resources, ...rest } =
    wireDocument.parse(body);
  const entries = Object.entries(files).map(([path, file]) => [path, parseFile(file, version)] as const);
  return {
    ...rest,
    files: Object.fromEntries(entries),
    ...(queue === undefined ? {} : { queue }),
    ...(attempt === undefined ? {} : { attempt }),
    ...(timeoutSeconds === undefined ? {} : { timeoutSeconds }),
    ...(network === undefined ? {} : { network }),
    ...(resources === undefined ? {} : { resources: withoutUndefined(resources) }),
  };
}

function parseFile(file: z.infer<typeof wireFile>, version: number): JobFile {
  if (typeof file === 'string') return { content: Buffer.from(file, 'utf8') };
  const modifiedAt =
    file.modifiedAt === '' || file.modifiedAt === unsetTime ? {} : { modifiedAt: file.modifiedAt };
  if (file.bucket !== '' && file.key !== '') return { bucket: file.bucket, key: file.key, ...modifiedAt };
  return { content: Buffer.from(file.content, version === 2 ? 'base64' : 'utf8'), ...modifiedAt };
}

function withoutUndefined(
  resources: { [Name in keyof JobResources]: JobResources[Name] | undefined },
): JobResources {
  return Object.fromEntries(Object.entries(resources).filter(([, item]) => item !== undefined));
}
