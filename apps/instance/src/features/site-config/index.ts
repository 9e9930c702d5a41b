export { siteConfigJsonSchema } from './json-schema.ts';
export { SiteConfigError } from './parse.ts';
export { siteConfigRoutes } from './routes.ts';
export { type SiteConfigValues, siteConfigSchema } from './schema.ts';
export { openSiteConfig, type SiteConfig } from './site-config.ts';
