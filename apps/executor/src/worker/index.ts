export { startWorker, type Worker, type WorkerSettings } from './worker.ts';
