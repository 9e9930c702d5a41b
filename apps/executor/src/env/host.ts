import { readFileSync, statSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import type { Host } from './read.ts';

/** This machine, as reading the settings sees it. */
export function thisHost(env: Readonly<Record<string, string | undefined>>): Host {
  return {
    platform: process.platform,
    onKubernetes:
      env['KUBERNETES_SERVICE_HOST'] !== undefined && env['KUBERNETES_SERVICE_PORT'] !== undefined,
    isRoot: process.getuid?.() === 0,
    homeDirectory: homedir(),
    stateHome: env['XDG_STATE_HOME'] === '' ? undefined : env['XDG_STATE_HOME'],
    temporaryDirectory: tmpdir(),
    readFile: (path) => readFileSync(path, 'utf8'),
    isFile: (path) => statSync(path, { throwIfNoEntry: false })?.isFile() ?? false,
  };
}
