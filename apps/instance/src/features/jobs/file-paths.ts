/** A path of `files` that was refused. */
export class FilePathError extends Error {
  override readonly name = 'FilePathError';
}

const maxPathBytes = 4096;
/** Longest name that the file systems of executors take. */
const maxNameBytes = 255;
/** The executor's own directory in a workspace: its scripts decide what runs. */
const scriptsDirectory = '.sourcegraph-executor';

/**
 * The path of a submitted file, relative to the workspace, without `.` components.
 * @throws FilePathError for one that leaves the workspace, or that decides what git or the executor run there
 */
export function normalizeFilePath(path: string): string {
  const refuse = (why: string) => new FilePathError(`${quoted(path)} in \`files\`: ${why}`);
  if (path.includes('\0') || !path.isWellFormed()) throw refuse('a path cannot hold this character');
  if (path.startsWith('/')) throw refuse('must be relative to the workspace, not absolute');
  const components = path.split('/');
  if (components.includes('')) throw refuse('has an empty component');
  if (components.includes('..')) throw refuse('must not leave the workspace ("..")');
  const kept = components.filter((component) => component !== '.');
  if (kept.length === 0) throw refuse('names a directory');
  if (
    kept.some((component) => Buffer.byteLength(component) > maxNameBytes) ||
    Buffer.byteLength(path) > maxPathBytes
  ) {
    throw refuse(`is longer than ${maxPathBytes} bytes, or a name in it than ${maxNameBytes}`);
  }
  // Without regard to case: a workspace may lie on a file system that has none.
  const folded = kept.map((component) => component.toLowerCase());
  if (folded.includes('.git') || folded[0] === scriptsDirectory) {
    throw new FilePathError(`private path in \`files\` refused: ${quoted(path)}`);
  }
  return kept.join('/');
}

/**
 * Checks that paths (normalised) can all be files of one tree.
 * @throws FilePathError for a path given twice, or one that is a directory of another
 */
export function checkTogether(paths: readonly string[]): void {
  const files = new Set<string>();
  for (const path of paths) {
    if (files.has(path)) throw new FilePathError(`${quoted(path)} in \`files\` is given twice`);
    files.add(path);
  }
  for (const path of paths) {
    for (let slash = path.indexOf('/'); slash >= 0; slash = path.indexOf('/', slash + 1)) {
      const directory = path.slice(0, slash);
      if (!files.has(directory)) continue;
      throw new FilePathError(
        `${quoted(directory)} in \`files\` is both a file and the directory of ${quoted(path)}`,
      );
    }
  }
}

function quoted(path: string): string {
  return JSON.stringify(path.length > 200 ? `${path.slice(0, 200)}...` : path);
}
