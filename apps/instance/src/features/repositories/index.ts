export type { GitEnvironment } from './git-process.ts';
export { defaultRepositoryLimits, type RepositoryLimits } from './limits.ts';
export {
  createRepositories,
  type Repositories,
  type RepositoriesOptions,
  type ResolvedRevision,
} from './repositories.ts';
export { repositoryRoutes } from './routes.ts';
export type { GitRequest, GitResponse } from './upload-pack.ts';
