import { glob, readFile } from 'node:fs/promises';
import path from 'node:path';
import { GuestBuildError } from './guest-build-error.ts';

export interface KernelModule {
  /** As the kernel names it: with `_`. */
  name: string;
  /** Names of the modules that must be loaded before. */
  needs: readonly string[];
  bytes: Uint8Array;
}

/** Those of the named modules, and of what they need, that lie below `lib/modules/VERSION` of an unpacked kernel. */
export async function readModules(directory: string, wanted: readonly string[]): Promise<KernelModule[]> {
  const files = new Map<string, string>();
  for await (const file of glob('**/*.ko', { cwd: directory })) files.set(nameOf(file), file);
  const found = new Map<string, KernelModule>();
  const queue = [...wanted];
  for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
    const file = files.get(name);
    if (found.has(name) || file === undefined) continue;
    const module = parseModule(name, await readFile(path.join(directory, file)));
    found.set(name, module);
    queue.push(...module.needs);
  }
  return [...found.values()];
}

/** The section `.modinfo` holds `depends=a,b` between zero bytes. Read from there, as no depmod has run. */
export function parseModule(name: string, bytes: Buffer): KernelModule {
  const start = bytes.indexOf('\0depends=');
  const end = bytes.indexOf(0, start + 1);
  const list = start < 0 ? '' : bytes.subarray(start + '\0depends='.length, end).toString('latin1');
  return { name, needs: list.split(',').filter(Boolean).map(nameOf), bytes };
}

/** In the order in which they are to be loaded. */
export function withDependencies(
  modules: readonly KernelModule[],
  wanted: readonly string[],
): KernelModule[] {
  const byName = new Map(modules.map((module) => [module.name, module]));
  const ordered: KernelModule[] = [];
  const visit = (name: string, neededBy: string) => {
    const module = byName.get(name);
    if (module === undefined)
      throw new GuestBuildError(
        `the kernel has no module ${name}${neededBy === '' ? '' : `, which ${neededBy} needs`}; use the kernel that "executor install kernel" builds`,
      );
    if (ordered.includes(module)) return;
    for (const need of module.needs) visit(need, name);
    ordered.push(module);
  };
  for (const name of wanted) visit(name, '');
  return ordered;
}

function nameOf(file: string): string {
  return path.basename(file, '.ko').replaceAll('-', '_');
}
