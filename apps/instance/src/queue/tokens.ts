import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

/**
 * A job token is 20 bytes, in lowercase hex: 6 of the job's id, by which its row is found without an index of
 * tokens, and 14 random ones, of which the row keeps the hash.
 */
const idBytes = 6;
const randomLength = 14;

/** The random part of a token that a claim is about to hand out, and its hash for the row. */
export function mintSecret(): { secret: Buffer; hash: Buffer } {
  const secret = randomBytes(randomLength);
  return { secret, hash: hashOf(secret) };
}

export function encodeToken(jobId: number, secret: Buffer): string {
  const id = Buffer.alloc(idBytes);
  id.writeUIntBE(jobId, 0, idBytes);
  return Buffer.concat([id, secret]).toString('hex');
}

/** Undefined for anything that is no token. */
export function decodeToken(token: string): { jobId: number; secret: Buffer } | undefined {
  if (!/^[0-9a-f]{40}$/.test(token)) return undefined;
  const bytes = Buffer.from(token, 'hex');
  return { jobId: bytes.readUIntBE(0, idBytes), secret: bytes.subarray(idBytes) };
}

export function matchesHash(secret: Buffer, hash: Buffer): boolean {
  return timingSafeEqual(hashOf(secret), hash);
}

function hashOf(secret: Buffer): Buffer {
  return createHash('sha256').update(secret).digest();
}
