import type { JobDocument } from '@kiln/protocol';
import type { ClaimedJob, TokenClaims } from './queue.ts';

/** The executor that a document is for. Absent sizes were already replaced by the reference's defaults (4 CPUs, 12G, 20G). */
export interface DocumentReader {
  /** As the executor sent it; may be empty. */
  version: string;
  /** Reads version 2 (file contents as bytes). Otherwise contents that are not UTF-8 must be sent as `bucket` and `key`. */
  readsV2: boolean;
  numCPUs: number;
  /** Such as `12G`. */
  memory: string;
  /** Such as `20G`. */
  diskSpace: string;
}

/** Why a document could not be built, in words for the job's owner. */
export interface DocumentProblem {
  problem: string;
  /** Set: the job goes back to the queue and is offered again after this time. Absent: it fails (`document`). */
  retryAfterSeconds?: number;
}

/** A file of a job, served at `/.executors/files/<bucket>/<key>`. */
export interface ProducedFile {
  sizeBytes: number;
  open(): Promise<AsyncIterable<Uint8Array>>;
}

/** The feature that creates jobs: it builds their documents when an executor claims them, and serves their files. */
export interface Producer {
  /** As in `NewJob.producer`. */
  name: string;
  /**
   * Documents of claimed jobs of this producer, by job id; called once for many claims. The executor API sets `id`,
   * `token`, `attempt`, `queue` and `timeoutSeconds` itself and leaves out what the executor cannot read. A missing id
   * counts as a problem; a thrown error sends all of them back to the queue.
   */
  document(
    claims: readonly ClaimedJob[],
    reader: DocumentReader,
  ): Promise<Map<number, JobDocument | DocumentProblem>>;
  /** The bucket whose files this producer serves, such as `jobs`. */
  bucket?: string;
  /**
   * A file by its key (`<a>/<b>`), or undefined when there is none that this caller may read. `claims` are those of the
   * job token; undefined when the caller proved the shared secret instead.
   */
  file?(claims: TokenClaims | undefined, key: string): Promise<ProducedFile | undefined>;
}
