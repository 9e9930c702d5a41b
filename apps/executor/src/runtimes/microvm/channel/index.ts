export type { GuestCommand } from './command.ts';
export { connectGuest } from './connect.ts';
export type { GuestChannel } from './guest-channel.ts';
export { GuestError } from './guest-error.ts';
export type { GuestProcess } from './process.ts';
