export { checkCapacity } from './capacity.ts';
export type { Check } from './check.ts';
export { checkExporters } from './exporters.ts';
export { checkHost } from './host.ts';
export { checkInstance } from './instance.ts';
export { checkMachine } from './machine.ts';
export { checkResolvers } from './resolvers.ts';
export { checkSameMachine } from './same-machine.ts';
export { checksText } from './text.ts';
