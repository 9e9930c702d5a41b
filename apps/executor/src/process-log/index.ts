export { createProcessLog, type Logger } from './process-log.ts';
export { createSecretRegister, type SecretRegister } from './secrets.ts';
