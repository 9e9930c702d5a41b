export { createResolver, type Resolver } from './resolver.ts';
