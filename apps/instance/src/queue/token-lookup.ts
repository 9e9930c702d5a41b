import type { JobState, QueueName } from '@kiln/protocol';
import { isEnded } from '@kiln/protocol';
import type { Logger } from 'pino';
import type { Database, Statement } from '../database/index.ts';
import { createGroup } from './grouping.ts';
import type { TokenClaims } from './queue.ts';
import { decodeToken, matchesHash } from './tokens.ts';

interface TokenRow {
  place: number;
  id: number;
  queue: QueueName;
  repositoryName: string | null;
  attempt: number;
  executorName: string;
  state: JobState;
  hash: Buffer;
}

const statement: Statement = {
  name: 'token_lookup',
  text: `select call.place::int, id, queue, repository_name as "repositoryName", attempt, executor_name as "executorName",
      state, token_sha256 as hash
    from unnest($1::bigint[]) with ordinality as call (job_id, place) join jobs on jobs.id = call.job_id
    where token_sha256 is not null and executor_name is not null`,
};

/** What a job token authorises; see `Queue.tokenClaims`. */
export function createTokenLookup(
  database: Database,
  log: Logger,
): (token: string) => Promise<TokenClaims | undefined> {
  const rows = createGroup<number, TokenRow | null>({
    run: async (jobIds) => {
      const found: (TokenRow | null)[] = jobIds.map(() => null);
      for (const row of await database.query<TokenRow>(statement, [jobIds])) found[row.place - 1] = row;
      return found;
    },
    targetOf: (jobId) => jobId,
    identityOf: String,
    log,
  });
  return async (token) => {
    const parts = decodeToken(token);
    const row = parts && (await rows.add(parts.jobId));
    if (!row || !matchesHash(parts.secret, row.hash)) return undefined;
    const { id, queue, repositoryName, attempt, executorName, state } = row;
    return { jobId: id, queue, repositoryName, attempt, executorName, ended: isEnded(state) };
  };
}
