export type { QueueCapacity } from './capacity.ts';
export type { ExecutorMetrics } from './executor-metrics.ts';
export { type ExecutorBeat, type Executors, openExecutors } from './executors.ts';
export { executorRoutes } from './routes.ts';
