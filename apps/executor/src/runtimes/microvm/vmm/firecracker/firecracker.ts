import { spawn } from 'node:child_process';
import { link } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { captureConsole } from '../console-tail.ts';
import { ownNetwork } from '../own-network.ts';
import { endOf, vmmEnvironment } from '../process.ts';
import { type GatedProcess, type Vm, VmError, type Vmm, type VmSpec } from '../vmm.ts';
import { connectApi } from './api.ts';
import { type DriveSlots, driveSlots } from './drive-slots.ts';
import { fillJail, jailerCommand, jailRoot } from './jail.ts';
import { type FirecrackerPrograms, limitsSerial } from './programs.ts';
import { agentPort, bootRequests, driveRequest, jailFiles } from './requests.ts';

/**
 * Reads the word to go on; the end of its input instead means that the executor is gone. No core dump: it would hold the job's
 * memory. The shell that is process 1 stays as root, so that the death of the process outside, whose end it is told of by the
 * kernel, ends all of the namespace: Firecracker itself forgets such a wish when the jailer changes its user.
 */
const gate = `
ulimit -c 0
read -r word && [ "$word" = go ] || exit
exec unshare --pid --fork --kill-child=KILL -- sh -c '"$@" </dev/null; exit $?' "$0" "$@"
`;

/** Firecracker below its jailer, in network, process and IPC namespaces of its own. Needs KVM. */
export function createFirecracker(programs: FirecrackerPrograms): Vmm {
  const control = (directory: string) => ({
    socketPath: join(jailRoot(directory, programs), jailFiles.control),
    vsockPort: agentPort,
  });

  async function prepare(spec: VmSpec, options: { survive: boolean }): Promise<GatedProcess> {
    if (spec.accelerator !== 'kvm') throw new VmError('Firecracker needs KVM');
    const slots = driveSlots(spec.drives);
    const root = jailRoot(spec.directory, programs);
    await fillJail(root, spec, slots);
    const lifeline = options.survive ? [] : ['setpriv', '--pdeathsig=KILL', '--'];
    const [program = '', ...parameters] = [
      ...lifeline,
      ...['unshare', '--net', '--ipc', '--', 'sh', '-c', gate, spec.name],
      ...(await jailerCommand(spec, slots, programs)),
    ];
    const child = spawn(program, parameters, {
      cwd: spec.directory,
      env: vmmEnvironment,
      stdio: ['pipe', 'pipe', 'pipe'],
      // Signals to the executor's group (an interrupt at a terminal) are none of the VM's.
      detached: true,
    });
    const ended = endOf(child);
    child.stdin.on('error', () => undefined);
    const { pid } = child;
    if (pid === undefined) throw new VmError(`Firecracker: ${await ended}`);
    if (options.survive) child.unref();
    const kill = async (): Promise<void> => {
      child.kill('SIGKILL');
      await ended;
    };
    const complaint = captureConsole(child.stderr);
    const networkNamespace = await ownNetwork(pid, ended, complaint.tail).catch(async (error: unknown) => {
      await kill();
      throw error;
    });
    return {
      pid,
      networkNamespace,
      cancel: kill,
      async go() {
        // It logs on its output, where a guest that turns its serial port on writes too.
        const output = captureConsole(child.stdout);
        const said = () => [output.tail(), complaint.tail()].filter((text) => text !== '').join('\n');
        child.stdin.end('go\n');
        try {
          return await running({
            spec,
            slots,
            root,
            pid,
            said,
            kill,
            ended,
            control: control(spec.directory),
          });
        } catch (error) {
          const how = await Promise.race([ended, wait(1000, 'it still runs', { ref: false })]);
          await kill();
          const message = error instanceof Error ? error.message : String(error);
          throw new VmError(
            `Firecracker did not start the VM (${how}): ${message}\n${said().slice(-2000)}`.trim(),
          );
        }
      },
    };
  }

  return { name: 'firecracker', control, prepare };

  async function running(parts: RunningParts): Promise<Vm> {
    const { spec, slots, root, pid, said, kill, ended } = parts;
    const gone = new AbortController();
    ended.then((how) => gone.abort(new VmError(`Firecracker has ended (${how})`)));
    const api = await connectApi(join(root, jailFiles.api), gone.signal);
    const abilities = { limitsSerial: limitsSerial(programs.version) };
    for (const request of bootRequests(spec, slots, abilities)) await api.send(request);
    const fileOf = new Map(slots.initial.map(({ serial, file }) => [serial, file]));
    return {
      pid,
      control: parts.control,
      ended: ended.then((how) => {
        const text = said();
        return text === '' ? how : `${how}: ${text.slice(-2000)}`;
      }),
      consoleTail: said,
      guestDevice: slots.deviceOf,
      async attachDrive(drive) {
        const id = slots.take(drive);
        await link(join(spec.directory, drive.file), join(root, drive.file));
        fileOf.set(drive.serial, drive.file);
        await api.send(driveRequest(id, drive.file));
      },
      async resizeDrive(serial) {
        // It looks at the file again.
        await api.send(driveRequest(slots.idOf(serial), fileOf.get(serial) ?? ''));
      },
      // There is nothing in a VM that must be saved, and no way to ask Firecracker to end.
      stop: kill,
    };
  }
}

interface RunningParts {
  spec: VmSpec;
  slots: DriveSlots;
  root: string;
  pid: number;
  control: Vm['control'];
  said(): string;
  kill(): Promise<void>;
  ended: Promise<string>;
}
