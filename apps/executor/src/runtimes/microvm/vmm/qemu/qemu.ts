import { type ChildProcess, spawn } from 'node:child_process';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex, Readable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { captureConsole } from '../console-tail.ts';
import { ownNetwork } from '../own-network.ts';
import { endOf, vmmEnvironment } from '../process.ts';
import {
  type ControlAddress,
  type Drive,
  type GatedProcess,
  type Vm,
  VmError,
  type Vmm,
  type VmSpec,
} from '../vmm.ts';
import {
  blockDevice,
  controlSocket,
  diskDevice,
  qemuArguments,
  qemuProgram,
  qmpDescriptor,
} from './arguments.ts';
import { connectQmp, type Qmp } from './qmp.ts';
import { resumeMachine, saveMachine } from './saved-machine.ts';
import { qemuVersion } from './version.ts';

/**
 * Reads the word to go on; the end of its input instead means that the executor is gone. No core dump: it would hold the job's
 * memory. The devices that it needs are not everywhere open to its user, nor need they be: it gets some of its own, in its own view of
 * /dev. `$1`: user; `$2`: whether there is a network; `$3`: the accelerator.
 */
const gate = `
ulimit -c 0
read -r word && [ "$word" = go ] || exit
# The directory's own file system may allow no devices.
mkdir -p dev && mount -t tmpfs -o mode=0711,size=64k devices dev || exit
device() { mknod -m 0600 "dev/$2" c 10 "$3" && chown "$1" "dev/$2" && mount --bind "dev/$2" "$4"; }
[ "$2" = alone ] || device "$1" tun 200 /dev/net/tun || exit
[ "$3" = tcg ] || device "$1" kvm 232 /dev/kvm || exit
shift 3
exec "$@" </dev/null
`;

/** QEMU as an unprivileged process of its own user, in a network namespace of its own. */
export function createQemu(): Vmm {
  let version: Promise<string | undefined> | undefined;
  return {
    name: 'qemu',
    control,
    prepare,
    async machine(spec) {
      version ??= qemuVersion();
      return `QEMU ${await version} ${qemuArguments({ ...spec, name: 'any', snapshot: undefined }).join(' ')}`;
    },
  };
}

function control(directory: string): ControlAddress {
  return { socketPath: join(directory, controlSocket) };
}

async function prepare(spec: VmSpec, options: { survive: boolean }): Promise<GatedProcess> {
  await using saved = spec.snapshot && (await openSnapshot(spec.snapshot.path));
  const child = spawn(
    'unshare',
    [
      ...['--net', '--ipc', '--mount', '--', 'sh', '-c', gate, spec.name],
      ...[String(spec.uid), spec.network === undefined ? 'alone' : 'network', spec.accelerator],
      ...unprivileged(spec, options),
      ...qemuArguments(spec),
    ],
    {
      cwd: spec.directory,
      env: vmmEnvironment,
      stdio: ['pipe', 'pipe', 'pipe', 'pipe', saved?.fd ?? 'ignore'],
      // Signals to the executor's group (an interrupt at a terminal) are none of the VM's.
      detached: true,
    },
  );
  const ended = endOf(child);
  child.stdin?.on('error', () => undefined);
  const { pid } = child;
  if (pid === undefined) throw new VmError(`QEMU: ${await ended}`);
  if (options.survive) child.unref();
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  const complaint = captureConsole(child.stderr as Readable);
  const networkNamespace = await ownNetwork(pid, ended, complaint.tail).catch(async (error: unknown) => {
    await kill();
    throw error;
  });
  return {
    pid,
    networkNamespace,
    cancel: kill,
    async go() {
      child.stdin?.end('go\n');
      try {
        return await running(child, pid, spec, ended, complaint.tail);
      } catch (error) {
        await kill();
        throw error;
      }
    },
  };
}

async function openSnapshot(path: string): Promise<FileHandle> {
  try {
    return await open(path);
  } catch (error) {
    throw new VmError(`the snapshot ${path} cannot be read`, { cause: error });
  }
}

async function running(
  child: ChildProcess,
  pid: number,
  spec: VmSpec,
  ended: Promise<string>,
  complaint: () => string,
): Promise<Vm> {
  const [stdout, connection] = [child.stdout, child.stdio[qmpDescriptor]];
  if (stdout === null || !connection) throw new VmError('QEMU has no pipes');
  const console = captureConsole(stdout);
  const qmp = await comeUp(connection as Duplex, spec).catch(async (error: unknown) => {
    const how = await Promise.race([ended, wait(1000, 'it still runs', { ref: false })]);
    const said = complaint() || (error instanceof Error ? error.message : String(error));
    throw new VmError(`QEMU did not come up (${how}): ${said.slice(-2000)}`);
  });
  let stopping: Promise<void> | undefined;
  return {
    pid,
    control: control(spec.directory),
    ended: ended.then((how) => {
      const said = complaint();
      return said === '' ? how : `${how}: ${said.slice(-2000)}`;
    }),
    consoleTail: console.tail,
    guestDevice: () => undefined,
    attachDrive: (drive) => plugDrive(qmp, drive),
    async resizeDrive(serial, size) {
      await qmp.execute('block_resize', { 'node-name': `node-${serial}`, size });
    },
    save: (path) => saveMachine(qmp, spec, path),
    stop(graceMilliseconds) {
      stopping ??= (async () => {
        if (graceMilliseconds > 0) {
          qmp.execute('quit').catch(() => undefined);
          await Promise.race([ended, wait(graceMilliseconds, undefined, { ref: false })]);
        }
        child.kill('SIGKILL');
        await ended;
        qmp.close();
      })();
      return stopping;
    },
  };
}

/** @returns when the machine runs */
async function comeUp(connection: Duplex, spec: VmSpec): Promise<Qmp> {
  const qmp = await connectQmp(connection);
  if (spec.snapshot !== undefined) await resumeMachine(qmp);
  return qmp;
}

async function plugDrive(qmp: Qmp, drive: Drive): Promise<void> {
  await qmp.execute('blockdev-add', blockDevice(drive));
  await qmp.execute('device_add', diskDevice(drive));
}

/** Runs what follows as the VM's user, without any right beyond it. */
function unprivileged(spec: VmSpec, options: { survive: boolean }): string[] {
  return [
    'setpriv',
    `--reuid=${spec.uid}`,
    `--regid=${spec.uid}`,
    '--clear-groups',
    '--bounding-set=-all',
    '--inh-caps=-all',
    '--no-new-privs',
    ...(options.survive ? [] : ['--pdeathsig=KILL']),
    qemuProgram,
  ];
}
