import { createHash, randomBytes } from 'node:crypto';

const prefix = 'kiln_';

/** A new access token: `kiln_` and 64 hex characters. The prefix lets people and secret scanners recognise one. */
export function newAccessToken(): string {
  return prefix + randomBytes(32).toString('hex');
}

/** What is stored of a token. A plain hash is enough: 32 random bytes cannot be guessed, unlike a password. */
export function hashAccessToken(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

export type AuthorizationHeader = { token: string } | { mistake: string };

/** Reads `Authorization: token X` or `Bearer X`. The mistake never quotes the header: it may hold a secret. */
export function readAuthorization(header: string | undefined): AuthorizationHeader {
  if (header === undefined || header === '') return { mistake: 'No access token was sent' };
  const match = /^(token|bearer) +([^\s"]+)$/i.exec(header);
  const token = match?.[2];
  if (token === undefined) {
    return { mistake: 'The Authorization header is not of the form "token X" or "Bearer X"' };
  }
  if (!/^kiln_[0-9a-f]{64}$/.test(token)) return { mistake: 'That is not an access token of this instance' };
  return { token };
}
