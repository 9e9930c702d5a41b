export type { Database, Executable, Statement, Transaction } from './database.ts';
