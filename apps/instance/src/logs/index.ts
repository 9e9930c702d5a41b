export type { EntryHead, EntryName } from './entries.ts';
export type { FollowedEvent, FollowOptions, JobEvent } from './follow.ts';
export { type Logs, type LogsOptions, openLogs } from './logs.ts';
export type { OutputRange } from './read.ts';
export type { Append, LogWriter, Output, WriteRefusal } from './write.ts';
