import { createRandom, type Random } from './random.ts';

const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const digits = '0123456789';
const base64Characters = `${letters}${digits}+/`;

const kinds: readonly ((random: Random) => string)[] = [
  (random) => `ghp_${random.text(36, letters + digits)}`,
  (random) => random.text(32, '0123456789abcdef'),
  (random) => random.text(40, base64Characters),
  (random) => `${random.text(20, letters + digits)}!#/"&$'<>`,
  (random) => `postgres://app:${random.text(24, letters + digits)}@db.internal:5432/app?sslmode=require`,
  (random) =>
    `eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.${random.text(80, letters + digits)}.${random.text(43, letters)}`,
  (random) => random.text(12, `${letters}${digits}!$%&/()=?`),
  privateKey,
  (random) => JSON.stringify({ type: 'service_account', private_key: privateKey(random) }, null, 2),
  (random) => `pässwörd-${random.text(10, letters)}`,
];

/** Secrets such as people keep: tokens, passwords, connection strings, keys of many lines, JSON documents. */
export function typicalSecrets(count: number, seed = 1): string[] {
  const random = createRandom(seed);
  return Array.from({ length: count }, (_, index) => kinds[index % kinds.length]?.(random) ?? '');
}

function privateKey(random: Random): string {
  const body = Array.from({ length: 25 }, () => random.text(64, base64Characters)).join('\n');
  return `-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA${body}\n-----END RSA PRIVATE KEY-----\n`;
}
