import type { JobDocument } from '@kiln/protocol';
import type { Blobs } from '../../blobs/index.ts';
import type { Database } from '../../database/index.ts';
import type { DocumentProblem, Producer } from '../../queue/index.ts';
import { buildDocument, filesBucket } from './document.ts';
import { blobKey } from './files.ts';
import { findRecords, hasFile, producerName } from './store.ts';

/** Builds the documents of submitted jobs and serves their files. */
export function createProducer({ database, blobs }: { database: Database; blobs: Blobs }): Producer {
  return {
    name: producerName,
    bucket: filesBucket,
    async document(claims) {
      const records = await findRecords(
        database,
        claims.map((claim) => claim.id),
      );
      return new Map<number, JobDocument | DocumentProblem>(
        records.map((record) => [record.jobId, buildDocument(record)]),
      );
    },
    async file(claims, key) {
      if (!(await hasFile(database, key, claims?.jobId))) return undefined;
      const blob = await blobs.get(blobKey(key));
      return blob && { sizeBytes: blob.sizeBytes, open: async () => blob.body };
    },
  };
}
