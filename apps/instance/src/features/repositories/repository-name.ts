import { ApiError } from '../../api-error.ts';

const maxRepositoryNameLength = 512;

/**
 * Checks the name of a repository to be registered, such as `github.com/acme/widgets`.
 *
 * The name becomes a path in the git addresses that executors build, some of them without escaping anything, so what
 * has a meaning there is refused here, where a person reads the answer, and not later by a clone that fails.
 * @throws ApiError 400 `invalid_repository_name`
 */
export function checkRepositoryName(name: string): void {
  const mistake = findMistake(name);
  if (mistake === undefined) return;
  throw new ApiError(
    400,
    'invalid_repository_name',
    `The repository name ${JSON.stringify(name.slice(0, 100))} ${mistake.what}`,
    mistake.hint,
  );
}

const example = 'Use a name such as github.com/acme/widgets.';

function findMistake(name: string): { what: string; hint: string } | undefined {
  if (name === '') return { what: 'is empty', hint: example };
  if (name.length > maxRepositoryNameLength) {
    return { what: `is longer than ${maxRepositoryNameLength} characters`, hint: example };
  }
  // Control, format (invisible, also those that reverse the reading direction), surrogate, unassigned; separators.
  if (/[\p{C}\p{Z}]/u.test(name)) {
    return { what: 'contains a space, a control character or an invisible character', hint: example };
  }
  const reserved = /[\\?#%]/.exec(name)?.[0];
  if (reserved !== undefined) {
    return { what: `contains ${reserved}, which has a meaning of its own in addresses`, hint: example };
  }
  if (name.startsWith('-')) return { what: 'begins with "-", like an option of a command', hint: example };
  for (const component of name.split('/')) {
    if (component === '') {
      return { what: 'begins or ends with "/", or has two in a row', hint: example };
    }
    if (component === '.' || component === '..')
      return { what: `has the part "${component}"`, hint: example };
  }
  if (name.endsWith('.git')) {
    // git takes "x" and "x.git" for the same repository in many places; here they would be two.
    return { what: 'ends with ".git"', hint: `Use ${JSON.stringify(name.replace(/(\.git)+$/, ''))}.` };
  }
  return undefined;
}
