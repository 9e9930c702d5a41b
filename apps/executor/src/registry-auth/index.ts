export { type RegistryAuth, type RegistryAuthOptions, resolveRegistryAuth } from './resolve.ts';
export { userConfigHome } from './user-home.ts';
