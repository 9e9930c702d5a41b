import { setTimeout as wait } from 'node:timers/promises';
import type { Usage } from '@kiln/protocol';
import { type NetworkReport, networkReport } from './network-report.ts';
import { mostRefusals } from './network-rules.ts';
import type { AddressJudge } from './policy.ts';
import { refusalLine } from './refusal-line.ts';

export interface MeteredNetwork {
  table: string;
  networkNamespace: string | undefined;
  closedBecause: AddressJudge;
}

export interface NetworkMeter {
  /** Tells the job's log of each refused destination, once, soon after it happened, as long as a step runs. */
  whileRunning<Result>(step: Promise<Result>): Promise<Result>;
  /** What went through the job's network since this was asked last; also tells of refused destinations. */
  usage(): Promise<Pick<Usage, 'networkRxBytes' | 'networkTxBytes'>>;
}

/** Reading the rules' notes is one more process each time. */
const lookMilliseconds = 3000;

/** @param notice writes a line into the job's log */
export function networkMeter(network: MeteredNetwork, notice: (line: string) => void): NetworkMeter {
  const told = new Set<string>();
  let isFull = false;
  let sentBytes = 0;
  let receivedBytes = 0;

  async function look(): Promise<NetworkReport | undefined> {
    const report = await networkReport(network.table, network.networkNamespace).catch(() => undefined);
    for (const flow of report?.refused ?? []) {
      const line = refusalLine(flow, network.closedBecause);
      if (told.has(line)) continue;
      told.add(line);
      notice(line);
    }
    if (!isFull && told.size >= mostRefusals) {
      isFull = true;
      notice(`egress blocked: ${told.size} destinations so far; not all others are listed`);
    }
    return report;
  }

  return {
    async whileRunning(step) {
      const ended = new AbortController();
      const looking = (async () => {
        for (;;) {
          await wait(lookMilliseconds, undefined, { signal: ended.signal });
          await look();
        }
      })().catch(() => undefined);
      try {
        return await step;
      } finally {
        ended.abort();
        await looking;
      }
    },
    async usage() {
      const report = await look();
      if (!report) return {};
      const usage = {
        networkRxBytes: report.receivedBytes - receivedBytes,
        networkTxBytes: report.sentBytes - sentBytes,
      };
      ({ sentBytes, receivedBytes } = report);
      return usage;
    },
  };
}
