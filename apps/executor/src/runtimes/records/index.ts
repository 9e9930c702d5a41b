export { type SandboxRecords, sandboxRecords } from './records.ts';
