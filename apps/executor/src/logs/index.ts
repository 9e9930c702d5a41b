export { createJobLog, type JobLog, type JobLogOptions, type LogEntry } from './job-log.ts';
export { createPrintedLog } from './printed-log.ts';
