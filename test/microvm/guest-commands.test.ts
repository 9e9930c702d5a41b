import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { GuestChannel } from '../../apps/executor/src/runtimes/microvm/channel/index.ts';
import { type BareVm, runInGuest, startBareVm } from '../kit/bare-vm.ts';
import { guestBuildMs } from '../kit/guest.ts';

let vm: BareVm;
let channel: GuestChannel;

beforeAll(async () => {
  vm = await startBareVm();
  channel = await vm.connect();
}, guestBuildMs);
afterAll(async () => {
  await channel?.[Symbol.asyncDispose]();
  await vm?.[Symbol.asyncDispose]();
});

const sh = (script: string) => runInGuest(channel, ['sh', '-c', script]);

describe('commands in the guest', () => {
  test('arguments, variables and the directory arrive as they are', async () => {
    const awkward = ['', ' two  words ', 'new\nline', '$HOME `x` "\'\\', 'ü漢'];
    const env = { PATH: '/bin:/usr/bin', A: 'x=y\nz', EMPTY: '' };
    const { exit, stdout } = await runInGuest(
      channel,
      ['sh', '-c', 'pwd; printf "%s|" "$A" "$EMPTY" "$@"', 'name', ...awkward],
      { env, cwd: '/usr/bin' },
    );
    expect(exit).toEqual({ code: 0 });
    expect(stdout).toBe(`/usr/bin\nx=y\nz||${awkward.join('|')}|`);
    const variables = await runInGuest(channel, ['env'], { env: { ONLY: '1' } });
    expect(variables.stdout.split('\n').sort()).toEqual([
      '',
      'ONLY=1',
      'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    ]);
  });

  test('every exit code', async () => {
    const codes = Array.from({ length: 256 }, (_, code) => code);
    const exits: unknown[] = [];
    for (let at = 0; at < codes.length; at += 32)
      exits.push(
        ...(await Promise.all(codes.slice(at, at + 32).map(async (code) => (await sh(`exit ${code}`)).exit))),
      );
    expect(exits).toEqual(codes.map((code) => ({ code })));
  });

  test('signals: its own, and those sent to it', async () => {
    expect((await sh('kill -USR1 $$')).exit).toEqual({ signal: 'SIGUSR1' });
    for (const name of ['KILL', 'TERM', 'INT', 'HUP'] as const) {
      const process = await channel.exec({ argv: ['sleep', '1000'] });
      process.kill(name);
      expect(await process.exit).toEqual({ signal: `SIG${name}` });
    }
  });

  test('KILL takes what left its process group, and so does the end of a command', async () => {
    const mark = `7${randomBytes(3).readUIntBE(0, 3)}`;
    const hidden = `setsid sh -c 'setsid sleep ${mark} & sleep ${mark}' & `;
    const running = async () =>
      (await sh(`pidof sleep | xargs -r -n1 | while read p; do tr '\\0' ' ' </proc/$p/cmdline; done`)).stdout;
    const process = await channel.exec({ argv: ['sh', '-c', `${hidden} sleep ${mark}; :`] });
    await expect.poll(running, { timeout: 60_000 }).toContain(mark);
    process.kill('KILL');
    expect(await process.exit).toEqual({ signal: 'SIGKILL' });
    expect(await running()).not.toContain(mark);
    expect((await sh(`${hidden} exit 3`)).exit).toEqual({ code: 3 });
    expect(await running()).not.toContain(mark);
  });

  test('an abort kills', async () => {
    const abort = new AbortController();
    const process = await channel.exec({ argv: ['sleep', '1000'] }, abort.signal);
    abort.abort(new Error('enough'));
    expect(await process.exit).toEqual({ signal: 'SIGKILL' });
    await expect(channel.exec({ argv: ['true'] }, abort.signal)).rejects.toThrow('enough');
  });

  test.each([
    [['no-such-program'], {}, 'no-such-program: No such file'],
    [['/etc'], {}, '/etc: Permission denied'],
    [['true'], { cwd: '/nowhere' }, '/nowhere: No such file'],
  ])('%j %j cannot be started', async (argv, more, message) => {
    await expect(channel.exec({ argv, ...more })).rejects.toThrow(message);
  });

  test('20 at once, each with its own streams', async () => {
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        runInGuest(channel, ['sh', '-c', `cat; echo err${n} >&2; exit ${n}`], { input: `in${n}\n` }),
      ),
    );
    results.forEach((result, n) => {
      expect(result).toEqual({ exit: { code: n }, stdout: `in${n}\n`, stderr: `err${n}\n` });
    });
  });

  test('all output is handed over before the exit is told', async () => {
    const { exit, stdout } = await sh('seq 1 200000 | tail -n 100000; exit 9');
    expect(exit).toEqual({ code: 9 });
    expect(stdout).toBe(Array.from({ length: 100_000 }, (_, n) => `${n + 100_001}\n`).join(''));
  });

  test('100 MB through standard output, unchanged', async () => {
    await sh('dd if=/dev/urandom of=/tmp/block bs=64k count=16 2>/dev/null');
    const block = (await channel.readFile('/tmp/block', 1024 * 1024)) ?? new Uint8Array();
    // A counter between the blocks, so that none can be missing or doubled unnoticed.
    const expected = createHash('sha256');
    for (let n = 1; n <= 100; n++) expected.update(`${n}\n`).update(block);
    const hash = createHash('sha256');
    let bytes = 0;
    const process = await channel.exec({
      argv: ['sh', '-c', 'for i in $(seq 100); do echo $i; cat /tmp/block; done; rm /tmp/block'],
      output: {
        async write(_stream, chunk) {
          bytes += chunk.length;
          hash.update(chunk);
        },
      },
    });
    expect(await process.exit).toEqual({ code: 0 });
    expect(bytes).toBe(100 * 1024 * 1024 + 292);
    expect(hash.digest('hex')).toBe(expected.digest('hex'));
  }, 600_000);

  test('20 MB through standard input, unchanged', async () => {
    const bytes = randomBytes(20 * 1024 * 1024);
    const printed: Buffer[] = [];
    const process = await channel.exec({
      argv: ['sha256sum'],
      output: { write: async (_stream, chunk) => void printed.push(Buffer.from(chunk)) },
    });
    await process.write(bytes);
    process.end();
    expect(await process.exit).toEqual({ code: 0 });
    expect(Buffer.concat(printed).toString().split(' ')[0]).toBe(
      createHash('sha256').update(bytes).digest('hex'),
    );
  });

  test('input that nobody reads holds up nothing', async () => {
    const process = await channel.exec({ argv: ['sleep', '1000'] });
    const written = process.write(Buffer.alloc(5_000_000)).then(() => 'gone on');
    expect((await sh('echo beside')).stdout).toBe('beside\n');
    process.kill('KILL');
    expect(await written).toBe('gone on');
    const closed = await runInGuest(channel, ['sh', '-c', 'exec <&-; sleep 0.2'], {
      input: 'x'.repeat(2_000_000),
    });
    expect(closed.exit).toEqual({ code: 0 });
  });

  test('a reader that pauses stops its own command only', async () => {
    const paused = Promise.withResolvers<void>();
    let taken = 0;
    const slow = await channel.exec({
      argv: ['cat', '/dev/zero'],
      output: {
        async write(_stream, bytes) {
          taken += bytes.length;
          await paused.promise;
        },
      },
    });
    for (let n = 0; n < 5; n++) expect((await sh('echo beside; echo e >&2')).stdout).toBe('beside\n');
    const soFar = taken;
    expect(soFar).toBeLessThanOrEqual(64 * 1024);
    slow.kill('KILL');
    paused.resolve();
    expect(await slow.exit).toEqual({ signal: 'SIGKILL' });
    // The window, and what was in the pipe.
    expect(taken).toBeLessThanOrEqual((1024 + 64) * 1024);
  });

  test('a reader that fails ends the command and is told of it', async () => {
    const process = await channel.exec({
      argv: ['cat', '/dev/zero'],
      output: { write: () => Promise.reject(new Error('the disk is full')) },
    });
    await expect(process.exit).rejects.toThrow('the disk is full');
    expect((await sh('pidof cat')).stdout).toBe('');
  });

  test('a terminal', async () => {
    const printed: Buffer[] = [];
    const shown = () => Buffer.concat(printed).toString();
    const process = await channel.exec({
      argv: ['sh'],
      terminal: { rows: 33, columns: 77 },
      env: { PS1: '> ' },
      output: { write: async (_stream, bytes) => void printed.push(Buffer.from(bytes)) },
    });
    await process.write(Buffer.from('tty; stty size; echo $((6 * 7)) >&2\n'));
    await expect.poll(shown, { timeout: 60_000 }).toMatch(/\/dev\/pts\/\d+\r\n33 77\r\n42\r\n/);
    process.resize(40, 100);
    await process.write(Buffer.from('stty size; sleep 1000\n'));
    await expect.poll(shown, { timeout: 60_000 }).toContain('40 100');
    // The line discipline makes an interrupt of it, and the shell goes on.
    await process.write(Buffer.from('\x03'));
    await process.write(Buffer.from('exit 5\n'));
    expect(await process.exit).toEqual({ code: 5 });
  });
});
