import { ApiError } from '../../api-error.ts';

const maxRevisionLength = 512;

/** A whole commit id: the only revision that means the same commit for ever. */
export function isCommitId(revision: string): boolean {
  return /^[0-9a-f]{40}$/i.test(revision);
}

/**
 * Checks a revision before git sees it: a branch, a tag, a whole or shortened commit id, each with `~N` or `^N` if
 * wanted. Refused is what git would read as an option, a range, a path in a tree, a search through the history
 * (expensive: `^{/...}`, `:/...`) or a reflog (a mirror has none).
 * @throws ApiError 400 `invalid_revision`
 */
export function checkRevision(revision: string): void {
  const mistake = findMistake(revision);
  if (mistake === undefined) return;
  throw new ApiError(
    400,
    'invalid_revision',
    `The revision ${JSON.stringify(revision.slice(0, 100))} ${mistake}`,
    'Use a branch, a tag or a commit id.',
  );
}

function findMistake(revision: string): string | undefined {
  if (revision === '') return 'is empty';
  if (revision.length > maxRevisionLength) return `is longer than ${maxRevisionLength} characters`;
  if (revision.startsWith('-')) return 'begins with "-"';
  if (/[\p{C}\p{Z}]/u.test(revision)) return 'contains a space or a control character';
  const unfit = /\.\.|@\{|\^[^0-9~^]|[:?*[\\]/.exec(revision)?.[0];
  if (unfit !== undefined) return `contains "${unfit}"`;
  if (revision.startsWith('^')) return 'begins with "^"';
  return undefined;
}
