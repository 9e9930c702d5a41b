export type { GivenSecrets, SecretsRequest } from './give-secrets.ts';
export { SecretKeyError } from './key-source.ts';
export { openKeyRing } from './open-key-ring.ts';
export { secretRoutes } from './routes.ts';
export { createSealedTexts, type SealedTexts } from './sealed-texts.ts';
export { createSecrets, type Secrets } from './secrets.ts';
export { deleteOldUses, forgetUserOfSecrets } from './uses.ts';
