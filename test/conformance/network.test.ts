import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Runtime } from '../../apps/executor/src/runtimes/runtime.ts';
import { worldAddresses, worldPort } from '../kit/network-world.ts';
import { dockerUnderTest } from './docker.ts';
import { microvmUnderTest } from './microvm.ts';
import { type RuntimeUnderTest, startJob, testDirectory } from './runtime-under-test.ts';

const { open, open6, private6, metadata6, metadata, ...otherPrivate } = worldAddresses;

describe.each([
  { name: 'docker', start: dockerUnderTest },
  { name: 'microvm', start: microvmUnderTest },
])('the network of a step in $name', ({ start }) => {
  let under: RuntimeUnderTest;
  let directory: Awaited<ReturnType<typeof testDirectory>>;
  let runtime: Runtime & AsyncDisposable;
  const warnings: string[] = [];

  beforeAll(async () => {
    under = await start();
    directory = await testDirectory();
    runtime = under.open({ dataDirectory: directory.path, warnings });
  });
  afterAll(async () => {
    await runtime?.[Symbol.asyncDispose]();
    await under?.[Symbol.asyncDispose]();
    await directory?.[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    expect(await under.leftovers()).toEqual([]);
    expect(warnings).toEqual([]);
  });

  const overTCP = (address: string): string =>
    `echo "${address}: $(nc -w 3 ${address} ${worldPort} </dev/null 2>&1)"`;
  const overUDP = (address: string): string =>
    `echo "${address}: $(timeout 3 tftp -g -l /dev/null -r x ${address} ${worldPort} 2>&1)"`;
  /** An answer of a TFTP server came. */
  const udpAnswer = 'server error';

  test('is absent when the job asks for none', async () => {
    await using job = await startJob(runtime, under, directory.path, { network: 'none' });
    const outcome = await job.run(`tail -n +3 /proc/net/dev | cut -d: -f1; ${overTCP(open)}`);
    expect(outcome.stdout.trim().split('\n')[0]?.trim()).toBe('lo');
    expect(outcome.stdout).not.toContain('hello');
  });

  test('reaches public servers, and is measured', async () => {
    await using job = await startJob(runtime, under, directory.path, { network: 'public' });
    const outcome = await job.run(`${overTCP(open)}; ${overUDP(open)}`);
    expect(outcome.stdout).toContain('hello over tcp');
    expect(outcome.stdout).toContain(udpAnswer);
    expect(outcome.usage.networkRxBytes).toBeGreaterThan(50);
    expect(outcome.usage.networkTxBytes).toBeGreaterThan(50);
    expect((await job.run('true')).usage).toMatchObject({ networkRxBytes: 0, networkTxBytes: 0 });
  });

  test('reaches no private address, no metadata service and not the machine, by any protocol', async () => {
    await using job = await startJob(runtime, under, directory.path, { network: 'public' });
    const blocked = [metadata, ...Object.values(otherPrivate)];
    const outcome = await job.run(
      [
        ...blocked.flatMap((address) => [overTCP(address), overUDP(address)]),
        ...blocked.map((address) => `ping -c 1 -W 1 ${address} | grep -c "bytes from"`),
        // The machine by its address in the job's network, and by its public one.
        'gateway=$(ip route | sed -n "s/^default via \\([^ ]*\\).*/\\1/p"); echo "gateway $gateway"',
        overTCP('$gateway'),
        overTCP('203.0.113.254'),
        `for a in ${open6} ${private6} ${metadata6}; do nc -w 1 $a ${worldPort} </dev/null; done`,
      ].join('\n'),
    );
    expect(outcome.stdout).toMatch(/gateway \d+\./);
    expect(outcome.stdout).not.toContain('hello');
    expect(outcome.stdout).not.toContain(udpAnswer);
    expect(outcome.stdout).not.toMatch(/^[1-9]$/m);
    expect(job.notices.join('\n')).toContain(
      `egress blocked: tcp ${metadata}:${worldPort}, metadata service; never open to jobs`,
    );
    expect(job.notices.join('\n')).toContain(
      `egress blocked: udp ${otherPrivate.private10}:${worldPort}, private range; see EXECUTOR_ALLOWED_CIDRS`,
    );
  });

  test('refuses at once, so that clients need not time out', async () => {
    await using job = await startJob(runtime, under, directory.path, { network: 'public' });
    const outcome = await job.run(`time nc -w 20 ${metadata} ${worldPort} </dev/null`);
    expect(outcome.stderr).toContain('refused');
    expect(outcome.stderr).toMatch(/real\s+0m 0\./);
  });

  test('reaches the private ranges that the executor opens, and still no metadata service', async () => {
    const opened = under.open({
      dataDirectory: directory.path,
      warnings,
      allowedCIDRs: ['10.9.0.0/16', '169.254.0.0/16'],
    });
    await using job = await startJob(opened, under, directory.path, { network: 'public' });
    const outcome = await job.run(
      [otherPrivate.private10, otherPrivate.linkLocal, metadata, otherPrivate.private192]
        .map(overTCP)
        .join('\n'),
    );
    expect(outcome.stdout).toContain(`${otherPrivate.private10}: hello over tcp`);
    expect(outcome.stdout).toContain(`${otherPrivate.linkLocal}: hello over tcp`);
    expect(outcome.stdout.match(/hello/g)).toHaveLength(2);
    await job[Symbol.asyncDispose]();
    await opened[Symbol.asyncDispose]();
  });

  test('does not lead to another job', async () => {
    await using server = await startJob(runtime, under, directory.path, { network: 'public' });
    await using client = await startJob(runtime, under, directory.path, { network: 'public' });
    const address = Promise.withResolvers<string>();
    const stop = new AbortController();
    const serving = server.run(`hostname -i; while true; do echo hello | nc -l -p ${worldPort}; done`, {
      signal: stop.signal,
      write: async (stream, bytes) => {
        if (stream === 'stdout') address.resolve(Buffer.from(bytes).toString().trim());
      },
    });
    const other = await address.promise;
    expect(other).toMatch(/^\d+\.\d+\.\d+\.\d+$/);
    const outcome = await client.run(overTCP(other));
    expect(outcome.stdout).not.toContain('hello');
    stop.abort();
    await serving;
  });
});
