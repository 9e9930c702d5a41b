export { networkMeter } from './meter.ts';
export { parseCIDR, rulesetFor } from './network-rules.ts';
export { checkFirewall, NftError } from './nft.ts';
export { instanceEndpoints, machineResolvers } from './resolvers.ts';
export { isWithoutInterface, removeRules, setRules } from './rules.ts';
export { chooseSubnet, parseRoutes, routeTable } from './subnets.ts';
