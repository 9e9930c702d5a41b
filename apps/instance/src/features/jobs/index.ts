export { cancelAllJobs } from './cancel-all.ts';
export { countOrphanFiles, deleteOrphanFiles } from './files.ts';
export { forgetSubmitter } from './forget-submitter.ts';
export { createJobs, type Jobs } from './jobs.ts';
export { createProducer } from './producer.ts';
export { deleteOldJobs } from './retention.ts';
export { jobRoutes } from './routes.ts';
