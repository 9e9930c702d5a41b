import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { bootVm } from '../../apps/executor/src/runtimes/microvm/boot.ts';
import { vmNames } from '../../apps/executor/src/runtimes/microvm/names.ts';
import {
  type Drive,
  TooManyDrives,
  type Vm,
  VmError,
  type Vmm,
  type VmSpec,
} from '../../apps/executor/src/runtimes/microvm/vmm/index.ts';
import { endOf } from '../../apps/executor/src/runtimes/microvm/vmm/process.ts';
import { answeringGuest } from '../kit/answering-guest.ts';

const drive = (serial: string): Drive => ({ serial, file: serial, readOnly: true });
const snapshot = { path: 'snapshot', places: [drive('root')] };

let directory: string;
let guest: AsyncDisposable;
/** To what is asked of the guest that went on from a snapshot. */
let answer: 'done' | 'gone' | 'silent';
/** Resolved when that is asked. */
let asked: PromiseWithResolvers<void>;
/** Of the processes that were started and have not ended. */
let running: Set<number>;
let refused: unknown[];
let notices: string[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kiln-boot-'));
  answer = 'done';
  asked = Promise.withResolvers();
  guest = await answeringGuest(join(directory, 'control'), () => {
    asked.resolve();
    return answer;
  });
  running = new Set();
  refused = [];
  notices = [];
});
afterEach(async () => {
  expect([...running]).toEqual([]);
  await guest[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

interface Faults {
  /** Before the VMM is let go. */
  prepare?(spec: VmSpec): void;
  /** While the VMM starts. */
  go?(spec: VmSpec): Promise<void>;
  attachDrive?(): Promise<void>;
}

/** Starts a process that does nothing, in whose place the test's own guest answers. */
function vmm(faults: Faults): Vmm {
  const control = () => ({ socketPath: join(directory, 'control') });
  return {
    name: 'qemu',
    control,
    async prepare(spec) {
      faults.prepare?.(spec);
      const child = spawn('cat', { stdio: ['pipe', 'ignore', 'ignore'] });
      const pid = child.pid ?? 0;
      running.add(pid);
      const ended = endOf(child).finally(() => running.delete(pid));
      const stop = async (): Promise<void> => {
        child.kill('SIGKILL');
        await ended;
      };
      const vm: Vm = {
        pid,
        control: control(),
        ended,
        consoleTail: () => '',
        guestDevice: () => undefined,
        attachDrive: faults.attachDrive ?? (async () => undefined),
        resizeDrive: async () => undefined,
        stop,
      };
      return {
        pid,
        networkNamespace: '',
        cancel: stop,
        async go() {
          await faults.go?.(spec);
          return vm;
        },
      };
    },
  };
}

function boot(faults: Faults, signal: AbortSignal = AbortSignal.timeout(120_000)) {
  const names = vmNames({ executor: 'e', job: 7, attempt: 1 }, 'kiln', directory);
  return bootVm(
    {
      vmm: vmm(faults),
      names,
      spec: {
        name: names.name,
        directory,
        uid: names.uid,
        accelerator: 'tcg',
        cpus: 1,
        memoryBytes: 256 * 1024 ** 2,
        kernelFile: 'kernel',
        initrdFile: 'initrd',
        kernelArguments: [],
        drives: [drive('root'), drive('image1')],
        snapshot,
      },
      network: undefined,
      survive: false,
      refuse: async (refusedOne) => void refused.push(refusedOne),
      record: async () => undefined,
      notice: (line) => notices.push(line),
    },
    signal,
  );
}

async function end({ vm, channel }: Awaited<ReturnType<typeof boot>>): Promise<void> {
  await channel[Symbol.asyncDispose]();
  await vm.stop(0);
}

const ofSnapshot = (fault: () => void) => (spec: VmSpec) => {
  if (spec.snapshot !== undefined) fault();
};
const fail = (): never => {
  throw new VmError('made to fail');
};

describe('a VM that goes on from a snapshot', () => {
  test('gets the drives that the saved machine had no place for', async () => {
    const attached: string[] = [];
    const booted = await boot({ attachDrive: async () => void attached.push('one') });
    expect(booted.restored).toEqual({ drives: [] });
    expect(attached).toEqual(['one']);
    await end(booted);
    expect(notices).toEqual([]);
  });

  test.each<[string, Faults]>([
    ['a drive of the job cannot be attached', { attachDrive: async () => fail() }],
    ['the snapshot was removed meanwhile', { prepare: ofSnapshot(fail) }],
  ])('boots, and others go on from it, when %s', async (_, faults) => {
    const booted = await boot(faults);
    expect(booted.restored).toBeUndefined();
    await end(booted);
    expect(notices.join()).toContain('it boots instead');
    expect(refused).toEqual([]);
  });

  test('boots, and no other goes on from it, when the VMM cannot read it', async () => {
    const booted = await boot({ go: async (spec) => ofSnapshot(fail)(spec) });
    expect(booted.restored).toBeUndefined();
    await end(booted);
    expect(refused).toEqual([snapshot]);
  });

  test('boots, and no other goes on from it, when the guest does not become one of its own', async () => {
    answer = 'gone';
    await end(await boot({}));
    expect(refused).toEqual([snapshot]);
  });
});

describe('a job that is stopped', () => {
  test('while its VM starts does not wait for it', async () => {
    const stop = new AbortController();
    const going = Promise.withResolvers<void>();
    const booted = boot(
      {
        go() {
          going.resolve();
          return new Promise(() => undefined);
        },
      },
      stop.signal,
    );
    await going.promise;
    stop.abort(new Error('told to stop'));
    await expect(booted).rejects.toThrow('told to stop');
    expect(refused).toEqual([]);
  });

  test('while the guest becomes one of its own does not wait for it', async () => {
    answer = 'silent';
    const stop = new AbortController();
    const booted = boot({}, stop.signal);
    await asked.promise;
    stop.abort(new Error('told to stop'));
    await expect(booted).rejects.toThrow('told to stop');
    expect(refused).toEqual([]);
  });
});

test('a job of too many images is not tried elsewhere', async () => {
  const tooMany = () => {
    throw new TooManyDrives('use fewer images');
  };
  await expect(boot({ prepare: tooMany })).rejects.toMatchObject({
    message: 'use fewer images',
    infrastructure: false,
  });
  expect(refused).toEqual([]);
});
