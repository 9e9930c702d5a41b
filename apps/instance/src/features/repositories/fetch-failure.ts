import { ApiError } from '../../api-error.ts';
import { GitError } from './git-process.ts';
import { LocalSourceError } from './local-source.ts';
import { MirrorTooLargeError } from './mirror.ts';

/** Why a repository could not be fetched, for `lastError` and for whoever asked. Undefined: a mistake of ours. */
export function describeFetchFailure(err: unknown, mirrorsDirectory: string): string | undefined {
  if (
    err instanceof GitError ||
    err instanceof LocalSourceError ||
    err instanceof MirrorTooLargeError ||
    err instanceof ApiError
  ) {
    return err.message.replaceAll(mirrorsDirectory, 'mirrors').replace(/^git [a-z-]+: /, '');
  }
  return undefined;
}

/** The answer to a request that needed the fetch. Other errors than those of fetching are returned as they are. */
export function fetchFailure(name: string, err: unknown, mirrorsDirectory: string): unknown {
  // Says already what happened: git is too old, the repository was removed.
  const stated = err instanceof GitError && err.kind === 'stopped' ? err.cause : err;
  if (stated instanceof ApiError) return stated;
  const why = describeFetchFailure(err, mirrorsDirectory);
  if (why === undefined) return err;
  return new ApiError(
    502,
    'fetch_failed',
    `Repository ${JSON.stringify(name)} could not be fetched: ${why}`,
    hintFor(why),
  );
}

function hintFor(why: string): string {
  // `object 1234...: gitmodulesUrl: disallowed submodule url: ...`
  if (/\bobject [0-9a-f]{40,}: [a-zA-Z]+: |\bfsck error\b/.test(why)) {
    return 'git refuses what this repository holds, because it could harm whoever checks it out ("git help fsck" explains the check that is named). Remove it from the history: fetching again changes nothing.';
  }
  if (/could not read Username|Authentication failed|\b40[13]\b/.test(why)) {
    return 'The server asks for credentials or does not know the repository. Private repositories are reached by an ssh clone URL.';
  }
  if (/Host key verification failed/.test(why)) {
    return 'Add the host key of the server to known_hosts of the account that the instance runs as.';
  }
  if (/Permission denied \(/.test(why)) {
    return 'Give the public ssh key of the account that the instance runs as read access to the repository.';
  }
  return 'Check the clone URL and that its server is reachable from the instance, then sync the repository again.';
}
