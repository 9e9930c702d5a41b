export type { ExecutorApiOptions } from './context.ts';
export { executorApi } from './executor-api.ts';
