export { type Executor, type ExecutorOptions, newExecutorName, startExecutor } from './executor.ts';
