import { formatByteSize, type JobDocument } from '@kiln/protocol';
import type { Blobs } from '../../blobs/index.ts';
import type { Database } from '../../database/index.ts';
import type { ClaimedJob, DocumentProblem, Producer } from '../../queue/index.ts';
import type { GivenSecrets, Secrets, SecretsRequest } from '../secrets/index.ts';
import { buildDocument, filesBucket } from './document.ts';
import { blobKey } from './files.ts';
import { findRecords, hasFile, producerName, type SubmittedJob } from './store.ts';

/** Of all steps of a job: each has its own copy in the document, which instance and executor hold in memory. */
const maxSecretBytes = 16 * 1024 * 1024;

export interface ProducerOptions {
  database: Database;
  blobs: Blobs;
  secrets: Pick<Secrets, 'give'>;
}

/** Builds the documents of submitted jobs and serves their files. */
export function createProducer({ database, blobs, secrets }: ProducerOptions): Producer {
  return {
    name: producerName,
    bucket: filesBucket,
    async document(claims) {
      const records = await findRecords(
        database,
        claims.map((claim) => claim.id),
      );
      const given = await secrets.give('JOBS', secretsRequests(records, claims));
      return new Map(records.map((record) => [record.jobId, documentOf(record, given.get(record.jobId))]));
    },
    async file(claims, key) {
      if (!(await hasFile(database, key, claims?.jobId))) return undefined;
      const blob = await blobs.get(blobKey(key));
      return blob && { sizeBytes: blob.sizeBytes, open: async () => blob.body };
    },
  };
}

/** Only now: a value that was changed since the job was submitted is the one that counts. */
function secretsRequests(records: readonly SubmittedJob[], claims: readonly ClaimedJob[]): SecretsRequest[] {
  const recordOf = new Map(records.map((record) => [record.jobId, record]));
  return claims.flatMap(({ id, attempt, executorName }) => {
    const record = recordOf.get(id);
    if (!record) return [];
    const keys = record.spec.secrets ?? [];
    return [{ jobId: id, attempt, executor: executorName, userId: record.userId, keys }];
  });
}

function documentOf(
  record: SubmittedJob,
  given: GivenSecrets | DocumentProblem | undefined,
): JobDocument | DocumentProblem {
  if (!given) throw new Error(`job ${record.jobId} is not among those that were given secrets`);
  if ('problem' in given) return given;
  const bytes = [...given.values.values()].reduce((sum, value) => sum + Buffer.byteLength(value), 0);
  const steps = record.spec.steps.length;
  if (bytes * steps > maxSecretBytes) {
    return {
      problem: `its secrets have ${formatByteSize(bytes)} for each of ${steps} steps; together at most ${formatByteSize(maxSecretBytes)}`,
    };
  }
  return buildDocument(record, given);
}
