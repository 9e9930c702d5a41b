import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { type MadeEntry, type MadeImage, madeImage } from './made-images.ts';

/** An image with the shell of this machine's static busybox. */
export async function busyboxImage(): Promise<MadeImage> {
  const applets = execFileSync('busybox', ['--list']).toString().trim().split('\n');
  const entries: MadeEntry[] = [
    { path: 'bin/busybox', content: await readFile('/bin/busybox'), mode: 0o755 },
    ...applets
      .filter((name) => name !== 'busybox')
      .map((name): MadeEntry => ({ path: `bin/${name}`, type: 'symlink', linkPath: 'busybox' })),
    { path: 'var', type: 'directory', mode: 0o777 },
  ];
  return madeImage([entries], { config: { Env: ['PATH=/bin'] } });
}
