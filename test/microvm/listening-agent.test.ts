import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { connectGuest } from '../../apps/executor/src/runtimes/microvm/channel/index.ts';
import { guestFile } from '../../apps/executor/src/runtimes/microvm/guest/recipe.ts';
import { runInGuest } from '../kit/bare-vm.ts';

// The agent as it runs behind a vsock, where every host that comes is a new connection. This machine need not have vsocks: a Unix
// socket is listened on in the same way. In a mount namespace of its own, in which it finds no control groups to end.
const program = `
socket(my $listener, 1, 1, 0) or die $!;
bind($listener, pack('S a*', 1, $ENV{SOCKET})) or die $!;
listen($listener, 1) or die $!;
($main::LISTENER, $main::RESPAWNED) = ($listener, 0);
do $ENV{AGENT} or die $@ || $!;
`;

let directory: string;
let socketPath: string;
let agent: ChildProcess;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kiln-agent-'));
  socketPath = join(directory, 'socket');
  const script = 'mount -t tmpfs tmpfs /sys/fs/cgroup && exec perl -e "$PROGRAM"';
  agent = spawn('unshare', ['--mount', '--', 'sh', '-c', script], {
    env: { PATH: process.env['PATH'], PROGRAM: program, SOCKET: socketPath, AGENT: guestFile('agent.pl') },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  await expect.poll(() => existsSync(socketPath), { timeout: 30_000 }).toBe(true);
});
afterEach(async () => {
  const exited = once(agent, 'exit');
  agent.kill('SIGKILL');
  await exited;
  await rm(directory, { recursive: true, force: true });
});

const connected = () => connectGuest(socketPath, { signal: AbortSignal.timeout(60_000) });

test('each host gets a session of its own, one after the other', async () => {
  for (const word of ['first', 'second', 'third']) {
    await using channel = await connected();
    expect(await runInGuest(channel, ['cat'], { input: word })).toMatchObject({
      exit: { code: 0 },
      stdout: word,
    });
  }
});

test('a host that comes while another is served waits for it to leave', async () => {
  const first = await connected();
  const second = connected();
  expect((await runInGuest(first, ['echo', 'still here'])).stdout).toBe('still here\n');
  await first[Symbol.asyncDispose]();
  await using channel = await second;
  expect((await runInGuest(channel, ['echo', 'now me'])).stdout).toBe('now me\n');
});
