import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import {
  executorNameHeader,
  jobIdHeader,
  messages,
  type QueueName,
  sharedSecretScheme,
} from '@kiln/protocol';
import type { SiteConfigValues } from '../features/site-config/index.ts';
import type { Queue, TokenClaims } from '../queue/index.ts';
import { Refused, refusedText } from './replies.ts';

/** What the site configuration says about executors' credentials. */
export type ExecutorAuthSettings = Pick<SiteConfigValues, 'executorTokens' | 'requireJobTokens'>;

/** What a route demands of a job token beside that it is the caller's own. */
export type Binding = { queue: QueueName } | { repositoryName: string } | 'job';

/** Who proved what on a job route. */
export type JobAuth =
  | { by: 'shared-secret' }
  /** `executorName` and the job's id come from the headers and agree with the token's. */
  | { by: 'job-token'; claims: TokenClaims };

/**
 * Authentication A of the reference: the shared secret. In this order, in these words.
 * @throws Refused with 401
 */
export function requireSharedSecret(headers: IncomingHttpHeaders, settings: ExecutorAuthSettings): void {
  if (settings.executorTokens.length === 0) throw refusedText(401, messages.notConfigured);
  const header = headers.authorization ?? '';
  if (header === '') throw refusedText(401, messages.sharedSecretMissing);
  const [scheme, secret, ...more] = header.split(' ');
  if (scheme === undefined || secret === undefined || more.length > 0) {
    throw refusedText(401, messages.sharedSecretForm);
  }
  if (scheme !== sharedSecretScheme) throw refusedText(401, messages.sharedSecretScheme);
  if (secret === '') throw refusedText(401, messages.sharedSecretMissing);
  if (!isSharedSecret(secret, settings.executorTokens)) throw new Refused(401, 'empty');
}

/**
 * Authentication B of the reference: a job token, or the shared secret of executors that know no job
 * tokens. Beyond the reference, the executor named in the header must be the one that holds the claim.
 * @param allowEnded for marks: an ended job's token still authorises the same mark again
 * @throws Refused with 400, 401 or 403
 */
export async function requireJobAuth(
  headers: IncomingHttpHeaders,
  settings: ExecutorAuthSettings,
  queue: Pick<Queue, 'tokenClaims'>,
  binding: Binding,
  allowEnded: boolean,
): Promise<JobAuth> {
  const header = headers.authorization ?? '';
  const [scheme, token, ...more] = header.split(' ');
  if (header !== '' && (token === undefined || more.length > 0)) {
    throw refusedText(401, messages.jobAuthForm);
  }
  if (header !== '' && scheme !== 'Bearer' && scheme !== sharedSecretScheme) {
    throw refusedText(401, messages.jobAuthScheme);
  }
  if (token === undefined || token === '') throw refusedText(401, messages.jobAuthMissing);

  if (scheme === sharedSecretScheme) {
    if (!isSharedSecret(token, settings.executorTokens)) throw new Refused(403, 'empty');
    if (settings.requireJobTokens) {
      throw refusedText(403, 'executors.requireJobTokens is set: use the job token on this route');
    }
    return { by: 'shared-secret' };
  }

  const jobId = parseJobId(headers[jobIdHeader.toLowerCase()]);
  const executorName = headers[executorNameHeader.toLowerCase()] ?? '';
  if (executorName === '') throw refusedText(400, messages.executorNameMissing);
  const claims = /^[0-9a-f]{40}$/i.test(token) ? await queue.tokenClaims(token.toLowerCase()) : undefined;
  if (!claims || (claims.ended && !allowEnded)) throw refusedText(401, messages.invalidToken);
  if (BigInt(claims.jobId) !== jobId) throw refusedText(403, messages.invalidToken);
  if (!fits(claims, binding)) throw refusedText(403, messages.invalidToken);
  if (claims.executorName !== executorName) throw refusedText(403, messages.invalidToken);
  return { by: 'job-token', claims };
}

/** Every secret is compared, each in constant time whatever its length, so that time tells nothing about any. */
function isSharedSecret(candidate: string, secrets: readonly string[]): boolean {
  // Header values arrive one character per byte.
  const digest = sha256(Buffer.from(candidate, 'latin1'));
  let found = false;
  for (const secret of secrets) found = timingSafeEqual(digest, sha256(Buffer.from(secret, 'utf8'))) || found;
  return found;
}

function sha256(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest();
}

function fits(claims: TokenClaims, binding: Binding): boolean {
  if (binding === 'job') return true;
  if ('queue' in binding) return claims.queue === binding.queue;
  return claims.repositoryName !== null && claims.repositoryName === binding.repositoryName;
}

/** Reads what the reference's parser reads: an optional sign and decimal digits, within 64 bits. */
function parseJobId(header: string | string[] | undefined): bigint {
  if (typeof header !== 'string' || header === '') throw refusedText(400, messages.jobIdMissing);
  if (!/^[+-]?[0-9]+$/.test(header)) throw refusedText(400, messages.jobIdInvalid(header));
  // More digits than any 64-bit number has; not worth a big number of the header's whole length.
  const value = header.length > 64 ? 2n ** 64n : BigInt(header.replace(/^\+/, ''));
  if (BigInt.asIntN(64, value) !== value) {
    throw refusedText(
      400,
      messages.jobIdInvalid(header.slice(0, 64)).replace('invalid syntax', 'value out of range'),
    );
  }
  return value;
}
