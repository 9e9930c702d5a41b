import { readFileSync } from 'node:fs';
import { followJob, submitJob } from '../site/jobs.ts';
import type { LogSite } from './large-log.ts';

const lineIntervalMs = 100;
const stampedLine = /^stdout: line \d+ (\d+\.\d\d)$/gm;

/**
 * A step writes lines with the time in them, one each 100 ms, and a subscriber reads them.
 * @returns milliseconds from the writing of each line to its arrival, 0 to 10 too many: the times in the lines are those
 *   of `/proc/uptime`, the one clock finer than a second that a shell can read, which shows hundredths rounded down
 */
export async function measureLineLatency(
  { instance, image, signal }: LogSite,
  lines: number,
): Promise<number[]> {
  const run = `n=0
while [ $n -lt ${lines} ]; do
  read -r now rest < /proc/uptime
  echo "line $n $now"
  n=$((n + 1))
  usleep ${lineIntervalMs * 1000}
done`;
  const uptimeAheadMs = measureUptimeAhead();
  const id = await submitJob(instance, { steps: [{ image, run }] }, signal);
  const latencies: number[] = [];
  for await (const { event, data, at } of followJob(instance, id, signal)) {
    if (event !== 'output') continue;
    for (const [, uptime] of Buffer.from(data.data, 'base64').toString('utf8').matchAll(stampedLine))
      latencies.push(at + uptimeAheadMs - Number(uptime) * 1000);
  }
  if (latencies.length !== lines)
    throw new Error(`of ${lines} lines ${latencies.length} reached the subscriber`);
  return latencies;
}

/** How far the uptime is ahead of `performance.now()`: looks in the moment in which its last digit changes. */
function measureUptimeAhead(): number {
  const begun = readUptimeMs();
  for (;;) {
    const uptime = readUptimeMs();
    if (uptime !== begun) return uptime - performance.now();
  }
}

function readUptimeMs(): number {
  return Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000;
}
