import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Behaviour, writeBehaviour } from './behaviour.ts';

export { type Behaviour, jailerSeen, requestsSeen, type SeenRequest, writeBehaviour } from './behaviour.ts';

/** Puts programs into a directory that stand in for Firecracker and its jailer. What they see is kept there too. */
export async function installStandIns(directory: string, behaviour: Behaviour = {}): Promise<void> {
  writeBehaviour(directory, behaviour);
  for (const name of ['firecracker', 'jailer']) {
    const program = join(import.meta.dirname, `${name}.ts`);
    const path = join(directory, name);
    await writeFile(path, `#!/bin/sh\nexec '${process.execPath}' '${program}' '${directory}' "$@"\n`);
    await chmod(path, 0o755);
  }
}
