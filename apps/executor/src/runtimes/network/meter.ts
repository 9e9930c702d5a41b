import type { Usage } from '@kiln/protocol';
import { networkReport } from './network-report.ts';

/**
 * Tells what went through a job's network since it was asked last, and the job's owner of each destination that the rules
 * refused, once.
 */
export function networkMeter(
  table: string,
  networkNamespace: string | undefined,
  notice: (line: string) => void,
): () => Promise<Pick<Usage, 'networkRxBytes' | 'networkTxBytes'>> {
  const reported = { sentBytes: 0, receivedBytes: 0, refused: new Set<string>() };
  return async () => {
    const report = await networkReport(table, networkNamespace).catch(() => undefined);
    if (!report) return {};
    for (const destination of report.refused) {
      if (reported.refused.has(destination)) continue;
      reported.refused.add(destination);
      notice(
        `the network rules refused ${destination} (EXECUTOR_ALLOWED_CIDRS of the executor opens private ranges)`,
      );
    }
    const usage = {
      networkRxBytes: report.receivedBytes - reported.receivedBytes,
      networkTxBytes: report.sentBytes - reported.sentBytes,
    };
    reported.receivedBytes = report.receivedBytes;
    reported.sentBytes = report.sentBytes;
    return usage;
  };
}
