import type { Database } from './database.ts';

/** Small, so that other statements never wait long for one of them. */
const rowsPerBatch = 1000;

/**
 * Changes as many rows as there are, in statements that are short however many that is.
 * @param statement gives the text of one that changes at most so many rows, none of them twice, and returns each
 * @param signal ends it after the current batch
 * @returns how many rows were changed
 */
export async function changeInBatches(
  database: Database,
  statement: (batch: number) => string,
  values: unknown[],
  signal?: AbortSignal,
): Promise<number> {
  const text = statement(rowsPerBatch);
  for (let changed = 0; ; ) {
    const rows = await database.query(text, values);
    changed += rows.length;
    if (rows.length < rowsPerBatch || signal?.aborted) return changed;
  }
}
