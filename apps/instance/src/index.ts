export { composeInstance as startInstance, type Instance, type InstanceOptions } from './compose.ts';
export { DatabaseStartError } from './database/index.ts';
export { type InstanceSettings, misspeltSettings, readInstanceSettings, SettingsError } from './env.ts';
export { SecretKeyError } from './features/secrets/index.ts';
export { SiteConfigError } from './features/site-config/index.ts';
export { type ListenAddress, parseListenAddress } from './listen-address.ts';
