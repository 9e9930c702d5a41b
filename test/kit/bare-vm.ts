import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  connectGuest,
  type GuestChannel,
  type GuestCommand,
  GuestError,
} from '../../apps/executor/src/runtimes/microvm/channel/index.ts';
import { installedGuest } from '../../apps/executor/src/runtimes/microvm/guest/index.ts';
import { sharedGuest } from './guest.ts';

/** A guest in a QEMU without network, drives or any of the product's life cycle: for tests of what is in the guest. */
export interface BareVm extends AsyncDisposable {
  /** Path of the control socket. */
  socketPath: string;
  /** One at a time. */
  connect(): Promise<GuestChannel>;
  /** Resolves when QEMU has ended. */
  ended: Promise<void>;
  console(): Promise<string>;
}

// A busy machine that emulates everything takes its time.
const bootSeconds = 120;

/**
 * @param drives paths of ext4 images by serial
 * @param kernelPath instead of the guest's own
 */
export async function startBareVm(
  drives: Readonly<Record<string, string>> = {},
  kernelPath?: string,
): Promise<BareVm> {
  const guest = await installedGuest(await sharedGuest());
  if (guest === undefined) throw new Error('there is no guest, although it was just built');
  const directory = await mkdtemp(path.join(tmpdir(), 'kiln-bare-vm-'));
  const socketPath = path.join(directory, 'control');
  const consolePath = path.join(directory, 'console');
  const drive = (serial: string, file: string, more: string) => [
    ...['-drive', `file=${file},if=none,id=${serial},format=raw${more}`],
    ...['-device', `virtio-blk-pci,drive=${serial},serial=${serial}`],
  ];
  const child = spawn(
    'qemu-system-x86_64',
    [
      ...['-machine', 'pc', '-accel', 'tcg', '-cpu', 'max', '-smp', '2', '-m', '512'],
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
      ...['-kernel', kernelPath ?? guest.kernelPath, '-initrd', guest.initrdPath],
      ...['-append', guest.kernelArguments.join(' ')],
      ...['-serial', `file:${consolePath}`],
      ...drive('root', guest.rootPath, ',readonly=on'),
      ...Object.entries(drives).flatMap(([serial, file]) => drive(serial, file, ',cache=unsafe')),
      ...[
        '-device',
        'virtio-serial-pci',
        '-chardev',
        `socket,id=control,path=${socketPath},server=on,wait=off`,
      ],
      ...['-device', 'virtserialport,chardev=control,name=kiln.control'],
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  const gone = new AbortController();
  const ended = new Promise<void>((resolve) => {
    child.once('close', (code) => {
      gone.abort(new GuestError(`QEMU ended with code ${code}`));
      resolve();
    });
  });
  return {
    socketPath,
    ended,
    connect: () =>
      connectGuest(socketPath, {
        signal: AbortSignal.any([gone.signal, AbortSignal.timeout(bootSeconds * 1000)]),
      }),
    console: () => readFile(consolePath, 'utf8'),
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await ended;
      await rm(directory, { recursive: true, force: true });
    },
  };
}

export interface Ended {
  exit: { code: number } | { signal: string };
  stdout: string;
  stderr: string;
}

/** Runs a command to its end and keeps what it prints. */
export async function runInGuest(
  channel: GuestChannel,
  argv: readonly string[],
  more: Omit<GuestCommand, 'argv' | 'output'> & { input?: string } = {},
): Promise<Ended> {
  const { input, ...command } = more;
  const printed = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  const process = await channel.exec({
    argv,
    ...command,
    output: { write: async (stream, bytes) => void printed[stream].push(Buffer.from(bytes)) },
  });
  if (input !== undefined) await process.write(Buffer.from(input));
  process.end();
  return {
    exit: await process.exit,
    stdout: Buffer.concat(printed.stdout).toString(),
    stderr: Buffer.concat(printed.stderr).toString(),
  };
}
