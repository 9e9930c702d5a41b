import { loadStatements, type Statement } from '../database/index.ts';

/** Which statement claims, by whether one executor asks or several, and whether they know `limits`. */
export interface ClaimStatements {
  one: Statement;
  many: Statement;
  onePlain: Statement;
  manyPlain: Statement;
}

export function loadClaimStatements(): ClaimStatements {
  const { claim_one: one, claim_many: many } = loadStatements(import.meta.url, './sql/', [
    'claim_one',
    'claim_many',
  ]);
  return { one, many, onePlain: plain(one), manyPlain: plain(many) };
}

/**
 * The same for executors that do not know `limits`: by the lanes and jobs that any executor may have. A statement of
 * its own, because with the choice inside one statement each part of both would cost, whichever is chosen.
 */
function plain({ name, text }: Statement): Statement {
  const plainText = text
    .replaceAll('and waiting > 0', 'and waiting_plain > 0')
    .replaceAll('and in_lane\n', 'and in_lane and not needs_limits\n');
  return { name: `${name}_plain`, text: plainText };
}
