export { type RegistryAuth, type RegistryAuthOptions, resolveRegistryAuth } from './resolve.ts';
