import { isUtf8 } from 'node:buffer';
import { type ExtensionName, type JobDocument, type QueueName, renderJobDocument } from '@kiln/protocol';
import type { Logger } from 'pino';
import { isPassingFailure } from '../database/index.ts';
import type { ClaimedJob, DocumentProblem, DocumentReader, Producer } from '../queue/index.ts';

/** Builds the documents of claimed jobs. */
export interface Documents {
  build(claim: ClaimedJob, reader: DocumentReader): Promise<JobDocument | DocumentProblem>;
}

/** After an error of our own, such as a lost database, or when another executor may have the job. */
const retryAfterErrorSeconds = 10;

interface Batch {
  producer: Producer;
  reader: DocumentReader;
  claims: ClaimedJob[];
  result: Promise<Map<number, JobDocument | DocumentProblem>>;
}

/** Claims of the same turn of the event loop, for like executors, are built by one call of their producer. */
export function createDocuments(producers: readonly Producer[], log: Logger): Documents {
  const batches = new Map<string, Batch>();

  async function run(key: string, batch: Batch): Promise<Map<number, JobDocument | DocumentProblem>> {
    await new Promise((resolve) => setImmediate(resolve));
    batches.delete(key);
    try {
      return await batch.producer.document(batch.claims, batch.reader);
    } catch (err) {
      const jobIds = batch.claims.map(({ id }) => id);
      const level = isPassingFailure(err) ? 'warn' : 'error';
      log[level]({ err, jobIds }, 'the documents of jobs could not be built; the jobs go back to the queue');
      const problem = { problem: 'internal error', retryAfterSeconds: retryAfterErrorSeconds };
      return new Map(jobIds.map((id) => [id, problem]));
    }
  }

  return {
    async build(claim, reader) {
      const producer = producers.find(({ name }) => name === claim.producer);
      if (!producer) return { problem: `nothing here builds jobs of ${JSON.stringify(claim.producer)}` };
      const key = JSON.stringify([producer.name, reader]);
      let batch = batches.get(key);
      if (!batch) {
        const created: Batch = { producer, reader, claims: [], result: Promise.resolve(new Map()) };
        batches.set(key, created);
        created.result = run(key, created);
        batch = created;
      }
      batch.claims.push(claim);
      const documents = await batch.result;
      const built = documents.get(claim.id) ?? { problem: 'the job has no record' };
      return 'problem' in built || reader.readsV2 ? built : textOnly(built);
    },
  };
}

/** Version 1 carries contents as text: bytes that are none would arrive as others. */
function textOnly(document: JobDocument): JobDocument | DocumentProblem {
  for (const [path, file] of Object.entries(document.files)) {
    if ('content' in file && !isUtf8(file.content)) {
      return {
        problem: `the file ${JSON.stringify(path)} is not UTF-8 text, and the executor that asked reads only such files`,
        retryAfterSeconds: retryAfterErrorSeconds,
      };
    }
  }
  return document;
}

/** The executor that reads a document. */
export interface DocumentTarget {
  version: 1 | 2;
  /** Set when the executor asked several queues. */
  queue: QueueName | undefined;
  extensions: ReadonlySet<ExtensionName>;
}

/**
 * The document as this executor reads it: `queue` only for a dequeue from several, limits only where they are known.
 * @returns JSON
 */
export function renderFor(document: JobDocument, claim: ClaimedJob, executor: DocumentTarget): string {
  const { queue: _queue, timeoutSeconds: _timeout, network, resources, ...rest } = document;
  const limits = executor.extensions.has('limits')
    ? {
        timeoutSeconds: claim.timeoutSeconds,
        ...(network === undefined ? {} : { network }),
        ...(resources === undefined ? {} : { resources }),
      }
    : {};
  const rendered = renderJobDocument(
    {
      ...rest,
      ...limits,
      ...(executor.queue === undefined ? {} : { queue: executor.queue }),
      id: claim.id,
      token: claim.token,
      attempt: claim.attempt,
    },
    executor.version,
  );
  return JSON.stringify(rendered);
}
