export { type Connection, type ConnectionOptions, createDatabase } from './connections.ts';
export type { Database, Executable, Statement, Transaction } from './database.ts';
export { type EmbeddedServer, type EmbeddedServerOptions, startEmbeddedServer } from './embedded/server.ts';
export {
  DatabaseStartError,
  DatabaseUnavailableError,
  isPassingFailure,
  isUnstorableValue,
  sqlState,
} from './errors.ts';
export { changeInBatches } from './in-batches.ts';
export { type MigrateOptions, type Migration, migrate, readMigrations } from './migrate.ts';
export { type OpenDatabaseOptions, openDatabase } from './open-database.ts';
export { loadStatements } from './statements.ts';
export { createTurns, type Turns } from './turns.ts';
