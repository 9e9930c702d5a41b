import { spawn } from 'node:child_process';
import { existsSync, readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { noteJailer, readBehaviour } from './behaviour.ts';

/**
 * Stands in for Firecracker's jailer: takes its command line and no other, and starts the program in the directory that the real one
 * would make its root. It neither changes the root nor the user.
 */
const [, , directory = '', ...given] = process.argv;
const behaviour = readBehaviour(directory);
if (given[0] === '--version') {
  console.log(`Jailer v${behaviour.jailerVersion ?? behaviour.version ?? '1.16.1'}`);
  process.exit();
}
const { values, positionals } = parseArgs({
  args: given,
  allowPositionals: true,
  options: {
    id: { type: 'string' },
    'exec-file': { type: 'string' },
    uid: { type: 'string' },
    gid: { type: 'string' },
    'chroot-base-dir': { type: 'string' },
    'resource-limit': { type: 'string', multiple: true },
    netns: { type: 'string' },
    'new-pid-ns': { type: 'boolean' },
    'cgroup-version': { type: 'string' },
    cgroup: { type: 'string', multiple: true },
    'parent-cgroup': { type: 'string' },
  },
});
noteJailer(directory, {
  arguments: given,
  environment: Object.fromEntries(Object.entries(process.env).map(([name, value]) => [name, value ?? ''])),
  pid: process.pid,
  parentPid: process.ppid,
  networkNamespace: readlinkSync('/proc/self/ns/net'),
  ipcNamespace: readlinkSync('/proc/self/ns/ipc'),
});
const { id = '', 'exec-file': program = '', 'chroot-base-dir': base = '' } = values;
const root = join(base, basename(program), id, 'root');
const mistakes = [
  ...(/^[A-Za-z0-9-]{1,64}$/.test(id) ? [] : [`invalid id ${id}`]),
  ...(basename(program).includes('firecracker') ? [] : ['the program has another name']),
  ...(Number(values.uid) > 0 && Number(values.gid) > 0 ? [] : ['no user of its own']),
  ...(existsSync(root) ? [] : [`there is nothing in ${root}`]),
  ...(behaviour.jailerFails ? ['Failed to create the jail'] : []),
];
if (mistakes.length > 0) {
  console.error(mistakes.join('\n'));
  process.exit(1);
}
const child = spawn(program, ['--id', id, ...positionals], { cwd: root, stdio: 'inherit' });
child.on('exit', (code) => process.exit(code ?? 1));
