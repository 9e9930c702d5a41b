/** Of no person, service or VM of this machine. */
const resolverId = 1_899_999_999;

/**
 * From root to a user that owns nothing. Everything that the program needs must have been loaded: it may be where only root can
 * read. Without root there is nothing to give up.
 */
export function dropPrivileges(): void {
  if (process.getuid?.() !== 0) return;
  process.setgroups?.([]);
  process.setgid?.(resolverId);
  process.setuid?.(resolverId);
}
