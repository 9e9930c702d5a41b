export { trustSystemCertificates } from './certificates.ts';
export { InstanceError, type InstanceErrorKind, isInstanceError } from './errors.ts';
export {
  createInstanceClient,
  type HeartbeatVerdict,
  type HeldJob,
  heldJobId,
  type InstanceClient,
  type InstanceClientOptions,
  type Versions,
} from './instance-client.ts';
export type { JobClient, JobIdentity, LogEntryState, MarkKind } from './job-client.ts';
export type { ObserveCall } from './observe-call.ts';
export { withRetries } from './retry.ts';
