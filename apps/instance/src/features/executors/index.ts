export type { ExecutorMetrics } from './executor-metrics.ts';
export { type ExecutorBeat, type Executors, openExecutors, type QueueCapacity } from './executors.ts';
export { executorRoutes } from './routes.ts';
