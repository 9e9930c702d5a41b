import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { testImages } from '../kit/images.ts';
import { type HostileSite, startHostileSite } from './site.ts';

const { busybox: image } = testImages;
/** A gigabyte takes minutes on a small machine; `KILN_TEST_FLOOD_MB=1000` asks for it. */
const floodMegabytes = Number(process.env['KILN_TEST_FLOOD_MB'] ?? '200');
const floodSeconds = 120 + floodMegabytes;
let hostile: HostileSite;

beforeAll(async () => {
  hostile = await startHostileSite();
});
afterAll(() => hostile?.[Symbol.asyncDispose]());

it(
  'a flood fills neither the memory of the executor nor that of the instance, and arrives whole',
  async () => {
    const pids = { executor: hostile.executor.pid, instance: hostile.site.instance.process.pid };
    const before = {
      executor: await peakMegabytes(pids.executor),
      instance: await peakMegabytes(pids.instance),
    };
    const begunAt = performance.now();
    const run = `dd if=/dev/zero bs=1M count=${floodMegabytes} 2>/dev/null | tr '\\0' x | fold -w 1023`;
    const job = await hostile.run(
      { steps: [{ image, run }], timeout: `${floodSeconds}s` },
      { state: 'completed' },
      floodSeconds,
    );
    const entry = job.logEntries.find(({ key }) => key === 'step.docker.0');
    const lines = Math.ceil((floodMegabytes * 2 ** 20) / 1023);
    const bytes = floodMegabytes * 2 ** 20 + lines * 'stdout: \n'.length;
    // The last line has no end.
    expect(Math.abs((entry?.bytes ?? 0) - bytes)).toBeLessThanOrEqual(1);
    const seconds = (performance.now() - begunAt) / 1000;
    const peak = {
      executor: await peakMegabytes(pids.executor),
      instance: await peakMegabytes(pids.instance),
    };
    console.log(
      `${floodMegabytes} MiB in ${seconds.toFixed(0)} s; peak memory, MiB (before): executor ${peak.executor.toFixed(0)} (${before.executor.toFixed(0)}), instance ${peak.instance.toFixed(0)} (${before.instance.toFixed(0)})`,
    );
    expect(peak.executor - before.executor).toBeLessThan(250);
    expect(peak.instance - before.instance).toBeLessThan(300);
  },
  floodSeconds * 1000 + 30_000,
);

it('one line of 30 MB without an end, and a hundred thousand tiny ones', async () => {
  // With a full stop: digits at the end of a line may be the beginning of a secret's hexadecimal form, and are masked then.
  const run = "dd if=/dev/zero bs=1M count=30 2>/dev/null | tr '\\0' Z; echo; seq 1 100000 | sed 's/$/./'";
  const job = await hostile.run({ steps: [{ image, run }] }, { state: 'completed' });
  const log = (await hostile.log(job.id)).toString('latin1');
  expect(log.match(/Z/g)?.length).toBe(30 * 2 ** 20);
  expect(log.match(/^stdout: \d+\.$/gm)).toEqual(
    Array.from({ length: 100_000 }, (_, index) => `stdout: ${index + 1}.`),
  );
});

it('what other systems would take for orders is output like any other', async () => {
  const orders = [
    '::set-env name=ORDERED::1',
    '::add-mask::ordinary',
    '##vso[task.setvariable variable=ORDERED]1',
    '##teamcity[setParameter name=ORDERED value=1]',
    'section_start:1:ordinary',
  ];
  const job = await hostile.run(
    {
      steps: [
        { image, run: `printf '%s\\n' ${orders.map((order) => `'${order}'`).join(' ')}` },
        { image, run: 'echo "ORDERED=$ORDERED ordinary"' },
      ],
    },
    { state: 'completed' },
  );
  const log = (await hostile.log(job.id)).toString('utf8');
  for (const order of orders) expect(log).toContain(`stdout: ${order}\n`);
  expect(log).toContain('stdout: ORDERED= ordinary\n');
});

it('bytes that are no text are kept as they are, and shown to people without control over their terminal', async () => {
  const script = [
    // Title, clear screen, colour, bell, backspaces, C1 control, invalid UTF-8.
    `printf '\\033]0;owned\\007\\033[2J\\033[31mred\\b\\b\\302\\233Aevil\\377\\376\\r\\n'`,
    `printf 'stderr: forged\\n'; printf '[kiln] forged\\n' >&2`,
    `head -c 100000 /dev/urandom`,
  ].join('\n');
  const job = await hostile.run({ steps: [{ image, run: script }] }, { state: 'completed' });
  const log = await hostile.log(job.id);
  expect(log.includes(Buffer.from([0xff, 0xfe]))).toBe(true);
  // A line of the step always begins with its stream: it cannot pass for another's.
  expect(log.includes('stdout: stderr: forged\n')).toBe(true);
  expect(log.includes('stderr: [kiln] forged\n')).toBe(true);
  const { stdout, stderr, code } = await hostile.site.kiln(['job', 'logs', String(job.id)]);
  expect(code).toBe(0);
  for (const shown of [stdout, stderr]) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be there
    expect(shown).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/);
  }
  expect(stdout).toContain('red');
});

/** Highest resident memory of a process so far. */
async function peakMegabytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
}
