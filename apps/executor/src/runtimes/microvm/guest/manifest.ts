import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { DebianPackage } from './archive.ts';

const partSchema = z.object({
  sha256: z.string(),
  /** Every package in it, by name. */
  packages: z.array(z.object({ name: z.string(), version: z.string(), sha256: z.string() })),
});

/** What a guest is made of. Nothing of when or where it was built: the same inputs give the same manifest. */
export const manifestSchema = z.object({
  recipe: z.string(),
  kernel: partSchema.extend({ version: z.string(), initrdSha256: z.string() }),
  root: partSchema,
});
export type Manifest = z.infer<typeof manifestSchema>;

/** A guest's directory is named after this. */
export function manifestDigest(manifest: Manifest): string {
  return sha256(manifestText(manifest)).slice(0, 32);
}

export function manifestText(manifest: Manifest): string {
  return `${JSON.stringify(manifest, null, 2)}\n`;
}

export function packageList(packages: readonly DebianPackage[]): Manifest['root']['packages'] {
  return packages
    .map(({ name, version, sha256: digest }) => ({ name, version, sha256: digest }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

export function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}
