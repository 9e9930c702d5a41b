export { capabilities } from './capabilities.ts';
export {
  defaultMaxProcesses,
  directoryInContainer,
  scriptInContainer,
  sharedMemoryBytes,
  workspaceTarget,
} from './container.ts';
export { checkEnvironment } from './environment.ts';
