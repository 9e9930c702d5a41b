import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { dockerUnderTest } from '../conformance/docker.ts';
import { microvmUnderTest } from '../conformance/microvm.ts';
import { startJob, testDirectory } from '../conformance/runtime-under-test.ts';
import { testImages } from '../kit/images.ts';
import { inNamespace } from '../kit/network-namespace.ts';
import { type Attempt, ownHardware, type Surroundings } from './attempt.ts';
import { type Laboratory, startLaboratory } from './laboratory.ts';
import { outcomesOf, probeText } from './probe.ts';
import { falsePrefix, rootAttempts, stoppedAnyway } from './root-attempts.ts';
import { stepAttempts } from './step-attempts.ts';

/**
 * Everything that a hostile job could try to reach, with what must come of it, seen from both ends: what the job is told, and what arrives
 * in namespaces that play the rest of the world. One job of each runtime for the whole table.
 */
describe.each([
  { name: 'docker' as const, start: dockerUnderTest },
  { name: 'microvm' as const, start: microvmUnderTest },
])('a hostile job in $name', ({ name, start }) => {
  const results = new Map<string, string>();
  let notices: readonly string[] = [];
  let noticesOfRunningStep: readonly string[] = [];
  let around: Surroundings;
  let arrived: Awaited<ReturnType<Laboratory['arrivals']>>;
  let arrivedWithoutRules: typeof arrived;
  let state: { routes: string; neighbours: string };
  let routesBefore = '';
  let lookedUp = '';
  const finish = new AsyncDisposableStack();

  beforeAll(async () => {
    let laboratory: Laboratory | undefined;
    const under = finish.use(
      await start({
        images: ['busybox', 'perl'],
        async surroundings(machine) {
          laboratory = await startLaboratory(machine);
          return laboratory;
        },
      }),
    );
    const directory = finish.use(await testDirectory());
    const warnings: string[] = [];
    const runtime = finish.use(
      under.open({
        dataDirectory: directory.path,
        warnings,
        allowedCIDRs: ['10.20.0.0/24'],
        instanceURL: new URL('http://10.9.0.9:3080'),
        nameServers: ['203.0.113.53'],
      }),
    );
    routesBefore = await inNamespace(under.machine, ['ip', '-6', 'route']);
    const job = finish.use(await startJob(runtime, under, directory.path, { network: 'public' }));
    around = await surroundingsOf(under.machine);
    lookedUp = (await job.run('for name in public.test rebind.test; do nslookup "$name"; done 2>&1')).stdout;
    const step = await runningStep(job, around);
    const rootTexts = rootAttempts.map((attempt, index) => `root-${index} ${attempt.text(around)}`);
    const [fromRoot = ''] = await under.asRoot(['perl', '-e', await probeText(), ...rootTexts]);
    for (const [id, outcome] of [...outcomesOf(step.output()), ...outcomesOf(fromRoot)])
      results.set(id, outcome);
    // What root tried comes last; all is told of in one look.
    await vi.waitUntil(() => job.notices.join().includes('gre 203.0.113.1'), { timeout: 60_000 });
    noticesOfRunningStep = [...job.notices];
    if (laboratory === undefined) throw new Error('there is no laboratory');
    arrived = structuredClone(await laboratory.arrivals());
    state = {
      routes: await inNamespace(under.machine, ['ip', '-6', 'route']),
      neighbours: await inNamespace(under.machine, ['ip', 'neigh']),
    };
    notices = [...job.notices];
    // Again without the rules, at the end, when nothing can be spoilt any more.
    const table = `kiln_${around.link.slice(2)}`;
    await inNamespace(under.machine, ['nft', 'delete', 'table', 'inet', table]);
    await under.asRoot(['perl', '-e', await probeText(), ...rootTexts]);
    arrivedWithoutRules = await laboratory.arrivals();
    await step.stop();
    expect(warnings).toEqual([]);
  });
  afterAll(() => finish.disposeAsync());

  test.each(stepAttempts.map((attempt, index) => ({ ...attempt, id: `step-${index}` })))(
    'a step: $name: $verdict',
    (attempt) => check(attempt),
  );
  test.each(rootAttempts.map((attempt, index) => ({ ...attempt, id: `root-${index}` })))(
    'root of its network: $name: $verdict',
    (attempt) => check(attempt),
  );

  function check(attempt: Attempt & { id: string }): void {
    const outcome = results.get(attempt.id);
    const trace = attempt.trace(around);
    const traces = Object.entries(arrived).flatMap(([name, seen]) => (seen.has(trace) ? [name] : []));
    expect(outcome).toBeDefined();
    if (attempt.verdict === 'open') expect(outcome).toMatch(/^(answered|sent)$/);
    if (attempt.verdict === 'refused') expect(outcome).toMatch(/^(refused|unreachable)$/);
    if (attempt.verdict.startsWith('answered ')) expect(`answered ${outcome}`).toBe(attempt.verdict);
    expect(traces).toEqual(attempt.verdict === 'open' ? [attempt.at] : []);
  }

  test('without the rules it would have arrived, so that the table means something', () => {
    const missing = rootAttempts.filter((attempt) => {
      const trace = attempt.trace(around);
      return trace !== 'none' && !arrivedWithoutRules[attempt.at].has(trace);
    });
    expect(missing.map((attempt) => attempt.name)).toEqual(stoppedAnyway[name]);
  });

  test('programs look names up as they always do', () => {
    expect(lookedUp).toContain('203.0.113.1');
    expect(lookedUp).not.toContain('10.9.0.1');
  });

  test('what arrived at private places is what was opened there', () => {
    const opened = new Set(
      stepAttempts.filter(({ verdict }) => verdict === 'open').map((attempt) => attempt.trace(around)),
    );
    for (const place of ['corporate', 'metadata', 'otherJob'] as const) {
      // Neighbours on a link speak to each other, and the test to each witness.
      const others = [...arrived[place]].filter(
        (trace) => !opened.has(trace) && !/^(0|58) /.test(trace) && !/ 79\d\d$/.test(trace),
      );
      expect(others).toEqual([]);
    }
  });

  test('the machine believes nothing that the job says of the network', () => {
    expect(state.routes).not.toContain(falsePrefix);
    expect(state.neighbours).not.toContain(ownHardware);
    expect(state.routes.split('\n').filter((line) => line.startsWith('default'))).toEqual(
      routesBefore.split('\n').filter((line) => line.startsWith('default')),
    );
  });

  test('the log says what was refused, while the step runs, once, with the reason and the setting', () => {
    for (const line of [
      'egress blocked: tcp 10.9.0.1:7000, private range; see EXECUTOR_ALLOWED_CIDRS',
      'egress blocked: icmp 172.16.9.1, private range; see EXECUTOR_ALLOWED_CIDRS',
      'egress blocked: udp 169.254.169.254:80, metadata service; never open to jobs',
      'egress blocked: tcp 100.64.0.1:7000, carrier-grade NAT range; see EXECUTOR_ALLOWED_CIDRS',
      'egress blocked: gre 203.0.113.1, protocol; jobs have TCP, UDP and ping',
      'lookup of rebind.test: 10.9.0.1 was removed from the answer, since the job may not reach it',
    ])
      expect(noticesOfRunningStep).toContain(line);
    expect(noticesOfRunningStep.join('\n')).toMatch(/udp 203\.0\.113\.1:53, a name server of its own choice/);
    expect(noticesOfRunningStep.join('\n')).toMatch(
      /tcp 203\.0\.113\.254:22, an address of the executor itself/,
    );
    expect(new Set(notices).size).toBe(notices.length);
  });
});

/** A step that makes its attempts and then goes on until it is stopped. */
async function runningStep(
  job: Awaited<ReturnType<typeof startJob>>,
  around: Surroundings,
): Promise<{ output(): string; stop(): Promise<void> }> {
  const stop = new AbortController();
  const made = Promise.withResolvers<void>();
  let output = '';
  const attempts = stepAttempts.map((attempt, index) => `'step-${index} ${attempt.text(around)}'`);
  const ended = job.run(
    `cat >/tmp/probe.pl <<'END OF PROGRAM'\n${await probeText()}END OF PROGRAM\nperl /tmp/probe.pl ${attempts.join(' ')}; echo; echo made; sleep 600`,
    {
      image: testImages.perl,
      signal: stop.signal,
      write: async (_, bytes) => {
        output += Buffer.from(bytes).toString();
        if (output.includes('\nmade\n')) made.resolve();
      },
    },
  );
  const early = ended.then((outcome) => {
    throw new Error(`the step ended (${outcome.exitCode}):\n${output}`);
  });
  early.catch(() => undefined);
  await Promise.race([made.promise, early]);
  return {
    output: () => output,
    async stop() {
      stop.abort();
      await ended;
    },
  };
}

/** The job's network as the machine sees it: the job has the address after the gateway's. */
async function surroundingsOf(machine: string): Promise<Surroundings> {
  const links: unknown = JSON.parse(await inNamespace(machine, ['ip', '-j', 'addr']));
  const found = (links as { ifname: string; address: string; addr_info: { local: string }[] }[]).find(
    ({ ifname }) => /^kb[0-9a-f]{12}$/.test(ifname),
  );
  const gateway = found?.addr_info[0]?.local ?? '';
  const parts = gateway.split('.').map(Number);
  return {
    link: found?.ifname ?? '',
    gateway,
    own: [...parts.slice(0, 3), (parts[3] ?? 0) + 1].join('.'),
    gatewayHardware: found?.address ?? '',
  };
}
