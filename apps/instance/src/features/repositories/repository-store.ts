import type { Database } from '../../database/index.ts';
import type { FetchedState } from './mirror.ts';

export interface RepositoryRow {
  id: number;
  name: string;
  cloneURL: string;
  status: 'new' | 'ready' | 'failed';
  lastError: string | null;
  lastFetchedAt: Date | null;
  defaultBranch: string | null;
  headCommit: string | null;
  sizeBytes: number | null;
  createdAt: Date;
}

/** The table `repositories`. */
export interface RepositoryStore {
  /** Undefined: the name is taken. */
  insert(name: string, cloneURL: string): Promise<RepositoryRow | undefined>;
  find(name: string): Promise<RepositoryRow | undefined>;
  list(): Promise<RepositoryRow[]>;
  /** Resolves to the row that was removed, if there was one. */
  remove(name: string): Promise<RepositoryRow | undefined>;
  /** Of a repository that was removed meanwhile, nothing is noted. */
  noteFetched(id: number, state: FetchedState): Promise<void>;
  noteFailed(id: number, message: string): Promise<void>;
}

const columns = `id, name, clone_url as "cloneURL", status, last_error as "lastError", last_fetched_at as "lastFetchedAt",
  default_branch as "defaultBranch", head_commit as "headCommit", size_bytes as "sizeBytes", created_at as "createdAt"`;

const findByName = {
  name: 'repositories_find',
  text: `select ${columns} from repositories where name = $1`,
};

export function createRepositoryStore(database: Database): RepositoryStore {
  return {
    async insert(name, cloneURL) {
      const [row] = await database.query<RepositoryRow>(
        `insert into repositories (name, clone_url) values ($1, $2) on conflict (name) do nothing returning ${columns}`,
        [name, cloneURL],
      );
      return row;
    },
    async find(name) {
      // Postgres has no text with a NUL; a route may ask for one.
      if (name.includes('\0')) return undefined;
      const [row] = await database.query<RepositoryRow>(findByName, [name]);
      return row;
    },
    async list() {
      return database.query<RepositoryRow>(`select ${columns} from repositories order by name`);
    },
    async remove(name) {
      if (name.includes('\0')) return undefined;
      const [row] = await database.query<RepositoryRow>(
        `delete from repositories where name = $1 returning ${columns}`,
        [name],
      );
      return row;
    },
    async noteFetched(id, state) {
      await database.query(
        `update repositories
         set status = 'ready', last_error = null, last_fetched_at = now(), default_branch = $2, head_commit = $3, size_bytes = $4
         where id = $1`,
        [id, state.defaultBranch, state.headCommit, state.sizeBytes],
      );
    },
    async noteFailed(id, message) {
      await database.query(`update repositories set status = 'failed', last_error = $2 where id = $1`, [
        id,
        message,
      ]);
    },
  };
}
