export { parseCIDR } from './cidr.ts';
export { type JobNetworkOptions, type JobRules, setJobRules } from './job-rules.ts';
export { type NetworkMeter, networkMeter } from './meter.ts';
export { checkFirewall, NftError } from './nft.ts';
export type { AddressJudge } from './policy.ts';
export { createResolver, type Resolver } from './resolver/index.ts';
export { machineResolvers } from './resolvers.ts';
export { isWithoutInterface, removeRules } from './rules.ts';
export { chooseSubnet, parseRoutes, routeTable } from './subnets.ts';
