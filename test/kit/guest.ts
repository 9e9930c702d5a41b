import path from 'node:path';
import { installGuest } from '../../apps/executor/src/runtimes/microvm/guest/index.ts';

/**
 * A data directory with a guest in it, the same for all tests of this machine: it is built from packages once, by
 * whoever comes first, and again when what Kiln puts into it has changed.
 */
export async function sharedGuest(): Promise<string> {
  const dataDirectory = path.resolve(import.meta.dirname, '../../.kiln/test-guest');
  await installGuest({
    dataDirectory,
    what: 'missing',
    progress: () => undefined,
    // As long as a slow mirror may take.
    signal: AbortSignal.timeout(guestBuildMs),
  });
  return dataDirectory;
}

/** For the hook that calls {@link sharedGuest}. */
export const guestBuildMs = 600_000;
