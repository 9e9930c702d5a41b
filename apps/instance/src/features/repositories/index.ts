export type { GitEnvironment } from './git-process.ts';
export type { GitRequest, GitResponse } from './git-server.ts';
export type { RepositoryLimits } from './limits.ts';
export {
  createRepositories,
  type Repositories,
  type RepositoriesOptions,
  type ResolvedRevision,
} from './repositories.ts';
export { repositoryRoutes } from './routes.ts';
