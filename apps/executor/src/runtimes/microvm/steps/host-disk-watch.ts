import { statfs } from 'node:fs/promises';
import { formatByteSize } from '@kiln/protocol';

const intervalMilliseconds = 1000;

/**
 * Looks each second whether this machine has enough disk left: drives are sparse, so that all VMs' together may be larger
 * than what there is.
 * @param onExceeded called once, with the reason in words for people
 */
export function watchHostDisk(
  directory: string,
  minFreeBytes: number,
  onExceeded: (reason: string) => void,
): Disposable {
  let isChecking = false;
  const timer = setInterval(async () => {
    if (isChecking) return;
    isChecking = true;
    try {
      const { bavail, bsize } = await statfs(directory);
      if (bavail * bsize >= minFreeBytes) return;
      clearInterval(timer);
      onExceeded(
        `this machine has only ${formatByteSize(bavail * bsize)} of disk space left, less than the ${formatByteSize(minFreeBytes)} that are kept free`,
      );
    } catch {
      // The directory goes with the sandbox; a single failed measurement is no reason to end a step.
    } finally {
      isChecking = false;
    }
  }, intervalMilliseconds);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
