import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ensureSystem, type Machine } from './ensure-system.ts';

let directory: string;
let said: string[];

beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'kiln-setup-'));
  said = [];
});
afterEach(() => rm(directory, { recursive: true }));

// `need: ['busybox']` is decided by PATH alone; the real sbin of this machine is searched too, and holds no busybox.
function ensure(options: { yes?: boolean; machine?: Partial<Machine> } = {}): Promise<void> {
  return ensureSystem({
    need: ['busybox'],
    yes: options.yes ?? false,
    signal: new AbortController().signal,
    machine: {
      env: { PATH: directory },
      userId: 0,
      interactive: false,
      say: (line) => said.push(line),
      ask: async () => {
        throw new Error('nobody is to be asked');
      },
      ...options.machine,
    },
  });
}

/** An apt-get that notes how it was called and, when asked to install, brings a program. */
async function fakeApt(status = 0): Promise<void> {
  const script = `#!/bin/sh
echo "$*" >>"${directory}/calls"
[ ${status} = 0 ] || { echo "no network" >&2; exit ${status}; }
case "$*" in *install*) echo program >"${directory}/busybox" && /bin/chmod 755 "${directory}/busybox" ;; esac
`;
  await writeFile(path.join(directory, 'apt-get'), script, { mode: 0o755 });
}

function calls(): Promise<string> {
  return readFile(path.join(directory, 'calls'), 'utf8').catch(() => '');
}

describe('ensureSystem', () => {
  it('does nothing where nothing is missing', async () => {
    await fakeApt();
    await writeFile(path.join(directory, 'busybox'), 'program', { mode: 0o755 });
    await ensure();
    expect([await calls(), said]).toEqual(['', []]);
  });

  it('takes a busybox that needs libraries for none', async () => {
    await fakeApt();
    await writeFile(path.join(directory, 'busybox'), 'interpreter /lib64/ld-linux-x86-64.so.2', {
      mode: 0o755,
    });
    await ensure();
    expect(await calls()).toContain('install');
  });

  it('installs exactly what is missing, and says so first, where nobody can be asked', async () => {
    await fakeApt();
    await ensure();
    expect(await calls()).toBe(
      'update\n-o DPkg::Lock::Timeout=120 install -y --no-install-recommends busybox-static\n',
    );
    expect(said.join('\n')).toContain('to install it:  apt-get update && apt-get');
  });

  it('asks on a terminal', async () => {
    await fakeApt();
    const machine = { interactive: true, ask: async () => 'n' };
    await expect(ensure({ machine })).rejects.toThrow('nothing was installed; to do it:  apt-get update');
    expect(await calls()).toBe('');
    await ensure({ machine: { interactive: true, ask: async () => '' } });
    expect(await calls()).toContain('install');
  });

  it('does not ask with --yes', async () => {
    await fakeApt();
    await ensure({ yes: true, machine: { interactive: true } });
    expect(await calls()).toContain('install');
  });

  it('names the command where it is not root', async () => {
    await fakeApt();
    await expect(ensure({ machine: { userId: 1000 } })).rejects.toThrow(
      'install it as root with:  apt-get update',
    );
    expect(await calls()).toBe('');
  });

  it('names the command of another system', async () => {
    await writeFile(path.join(directory, 'apk'), '', { mode: 0o755 });
    await expect(ensure()).rejects.toThrow('install it with:  apk add busybox-static');
  });

  it('shows what went wrong', async () => {
    await fakeApt(7);
    await expect(ensure()).rejects.toThrow(/no network\n`apt-get update` failed/);
  });
});
