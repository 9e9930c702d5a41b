export { processStart, type SandboxRecords, sandboxRecords } from './records.ts';
