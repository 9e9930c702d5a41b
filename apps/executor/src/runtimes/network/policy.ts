import { inRanges, isVersion4 } from './cidr.ts';
import { blockedRanges, metadataAddresses, publicRange6 } from './ranges.ts';

export interface OpenEndpoint {
  address: string;
  port: number;
}

/** What a job with network `public` may reach beside public addresses. */
export interface NetworkPolicy {
  /** TCP endpoints that are open although their address is blocked: the instance. */
  endpoints: readonly OpenEndpoint[];
  /** `EXECUTOR_ALLOWED_CIDRS`, checked by `parseCIDR`. */
  allowedCIDRs: readonly string[];
}

/**
 * Why an address is closed to a job, in the words of its log: `private range; see EXECUTOR_ALLOWED_CIDRS`. Asks in the order of
 * the firewall rules.
 * @returns undefined for one that is open, at least on some port
 */
export type AddressJudge = (address: string) => string | undefined;

export function judgeOf({ endpoints, allowedCIDRs }: NetworkPolicy): AddressJudge {
  const open = new Set(endpoints.map(({ address }) => address));
  const isMetadata = inRanges(metadataAddresses);
  const isAllowed = inRanges(allowedCIDRs);
  const blocked = blockedRanges.map(({ cidr, name }) => ({ holds: inRanges([cidr]), name }));
  const isPublic6 = inRanges([publicRange6]);
  return (address) => {
    if (open.has(address)) return undefined;
    if (isMetadata(address)) return 'metadata service; never open to jobs';
    if (isAllowed(address)) return undefined;
    const range = blocked.find(({ holds }) => holds(address));
    if (range !== undefined) return `${range.name}; see EXECUTOR_ALLOWED_CIDRS`;
    if (!isVersion4(address) && !isPublic6(address))
      return 'not a public address; see EXECUTOR_ALLOWED_CIDRS';
    return undefined;
  };
}
