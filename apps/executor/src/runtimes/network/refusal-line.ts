import { isIPv6 } from 'node:net';
import type { RefusedFlow } from './network-report.ts';
import { mostFlows, refusals } from './network-rules.ts';
import type { AddressJudge } from './policy.ts';

/** The line of a job's log for a destination that was refused, with the rule and the setting that would open it. */
export function refusalLine(flow: RefusedFlow, closedBecause: AddressJudge): string {
  return `egress blocked: ${flow.protocol} ${destination(flow)}, ${reason(flow, closedBecause)}`;
}

function destination({ address, port }: RefusedFlow): string {
  if (port === undefined) return address;
  return isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`;
}

function reason({ address, reason: code }: RefusedFlow, closedBecause: AddressJudge): string {
  switch (code) {
    case refusals.machine:
      return 'an address of the executor itself or of another job; never open to jobs, except single addresses of the executor in EXECUTOR_ALLOWED_CIDRS';
    case refusals.nameServer:
      return 'a name server of its own choice; lookups go through the one that the job is given (EXECUTOR_ALLOWED_CIDRS opens others)';
    case refusals.protocol:
      return 'protocol; jobs have TCP, UDP and ping';
    case refusals.flows:
      return `too many connections; a job has at most ${mostFlows} at once`;
    default:
      return closedBecause(address) ?? 'not open to jobs; see EXECUTOR_ALLOWED_CIDRS';
  }
}
