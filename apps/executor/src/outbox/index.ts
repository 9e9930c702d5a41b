export { createOutbox, type JobOutcome, type Outbox, type PostedOutcome } from './outbox.ts';
