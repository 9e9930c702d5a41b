export { type Accounts, createAccounts, type Namespace } from './accounts.ts';
export { createFirstAdmin } from './first-admin.ts';
export { type Principal, principalOf } from './principal.ts';
export { sessionRoutes } from './session-routes.ts';
export { deleteExpiredSignIns } from './sessions.ts';
export { tokenRoutes } from './token-routes.ts';
export { userRoutes } from './user-routes.ts';
export { createUsers } from './users.ts';
