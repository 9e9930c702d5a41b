import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import {
  createRepositories,
  type Repositories,
  type RepositoriesOptions,
} from '../../apps/instance/src/features/repositories/index.ts';
import { startTestDatabase, type TestDatabase } from './database.ts';
import { createTestRepository, type TestRepository } from './repository.ts';

/** Of `expect.poll`: events of other processes, on a machine that may be busy. */
export const soon = { timeout: 30_000 };

/** What each test (or file) has anew: an empty table, a data directory, a source repository without commits. */
export interface RepositoriesFixture {
  readonly database: TestDatabase['database'];
  /** Data directory of `repositories`. */
  readonly directory: string;
  readonly source: TestRepository;
  readonly repositories: Repositories;
  /** Another instance on the same database; with a data directory of its own unless the options name one. */
  open(options?: Partial<RepositoriesOptions>): Promise<Repositories>;
  /** Directories of the mirrors below a data directory. */
  mirrors(directory?: string): Promise<string[]>;
}

/** Registers the hooks of a test file. The result's properties are those of the running test, or of the whole file. */
export function useRepositories({ fresh = 'test' }: { fresh?: 'test' | 'file' } = {}): RepositoriesFixture {
  let testDatabase: TestDatabase;
  let directory: string;
  let source: TestRepository;
  let repositories: Repositories;
  const opened: Repositories[] = [];
  const temporary: string[] = [];

  async function makeDirectory(): Promise<string> {
    const made = await mkdtemp(join(tmpdir(), 'kiln-test-data-'));
    temporary.push(made);
    return made;
  }

  async function open(options: Partial<RepositoriesOptions> = {}): Promise<Repositories> {
    const made = createRepositories({
      database: testDatabase.database,
      directory: options.directory ?? (await makeDirectory()),
      log: pino({ level: 'silent' }),
      environment: { PATH: process.env['PATH'] },
      ...options,
    });
    opened.push(made);
    return made;
  }

  beforeAll(async () => {
    testDatabase = await startTestDatabase();
  });
  afterAll(() => testDatabase[Symbol.asyncDispose]());
  const [before, after] = fresh === 'test' ? [beforeEach, afterEach] : [beforeAll, afterAll];
  before(async () => {
    directory = await makeDirectory();
    source = await createTestRepository();
    repositories = await open({ directory });
  });
  after(async () => {
    await Promise.all(opened.splice(0).map((made) => made[Symbol.asyncDispose]()));
    await testDatabase.database.query('delete from repositories');
    await source[Symbol.asyncDispose]();
    await Promise.all(temporary.splice(0).map((path) => rm(path, { recursive: true, force: true })));
  });

  return {
    get database() {
      return testDatabase.database;
    },
    get directory() {
      return directory;
    },
    get source() {
      return source;
    },
    get repositories() {
      return repositories;
    },
    open,
    async mirrors(data = directory) {
      const root = join(data, 'repositories');
      const names = await readdir(root);
      return names.filter((name) => name !== '.git-home').map((name) => join(root, name));
    },
  };
}
