import { buildGuest, type InstallOptions } from './install.ts';
import { type Guest, newestGuest } from './installed.ts';

export type { Guest } from './installed.ts';
export { unpackedKernel } from './unpacked-kernel.ts';

/** The newest complete build below the directory that fits this version of Kiln, or undefined. */
export async function installedGuest(dataDirectory: string): Promise<Guest | undefined> {
  return newestGuest(dataDirectory);
}

/**
 * Builds the guest from the Debian packages that apt of this machine knows. Needs root, a minute, and the network.
 * @throws GuestBuildError
 */
export async function installGuest(options: InstallOptions): Promise<Guest> {
  return buildGuest(options);
}
