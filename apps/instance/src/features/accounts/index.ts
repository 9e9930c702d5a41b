export { type Accounts, createAccounts, type Namespace } from './accounts.ts';
export { createFirstAdmin } from './first-admin.ts';
export { type Principal, principalOf } from './principal.ts';
