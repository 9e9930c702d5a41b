import { randomBytes } from 'node:crypto';
import type { SessionView } from '@kiln/protocol';
import type { Database, Executable } from '../../database/index.ts';
import { hashAccessToken } from './access-tokens.ts';
import { type SignedIn, stillSignedIn, wrongCredentials } from './sign-in.ts';

/** Long enough for somebody who comes each week; whoever leaves a machine behind ends it sooner. */
export const sessionSeconds = 14 * 24 * 3600;

/**
 * @returns the token of the new session, which is nowhere else
 * @throws ApiError 401 `wrong_credentials` when the user is gone or has another password since
 */
export async function createSession(database: Executable, user: SignedIn): Promise<string> {
  const token = randomBytes(32).toString('hex');
  const made = await database.query(
    `with signed_in as (${stillSignedIn})
     insert into sessions (user_id, token_sha256, expires_at)
     select id, $3, now() + make_interval(secs => $4) from signed_in returning 1`,
    [user.id, user.verifiedHash ?? null, hashAccessToken(token), sessionSeconds],
  );
  if (made.length === 0) throw wrongCredentials();
  return token;
}

/** Those of a user that have not expired, newest first. */
export async function listSessions(
  database: Executable,
  userId: number,
  currentId: number | undefined,
): Promise<SessionView[]> {
  const rows = await database.query<{ id: number; createdAt: Date; lastUsedAt: Date; expiresAt: Date }>(
    `select id, created_at as "createdAt", last_used_at as "lastUsedAt", expires_at as "expiresAt"
     from sessions where user_id = $1 and expires_at > now() order by id desc`,
    [userId],
  );
  return rows.map(({ id, createdAt, lastUsedAt, expiresAt }) => ({
    id,
    current: id === currentId,
    createdAt: createdAt.toISOString(),
    lastUsedAt: lastUsedAt.toISOString(),
    expiresAt: expiresAt.toISOString(),
  }));
}

/** @returns whether the user had it */
export async function endSession(database: Executable, userId: number, id: number): Promise<boolean> {
  const rows = await database.query('delete from sessions where user_id = $1 and id = $2 returning id', [
    userId,
    id,
  ]);
  return rows.length > 0;
}

/** @param keptId the session that goes on, if any */
export async function endSessions(database: Executable, userId: number, keptId?: number): Promise<void> {
  await database.query('delete from sessions where user_id = $1 and ($2::bigint is null or id <> $2)', [
    userId,
    keptId ?? null,
  ]);
}

/** Forgets sessions that have expired, and counts of attempts to sign in that limit nobody any more. @returns how many */
export async function deleteExpiredSignIns(database: Database): Promise<number> {
  const sessions = await database.query('delete from sessions where expires_at <= now() returning 1');
  const attempts = await database.query(
    'delete from sign_in_attempts where window_ends_at <= now() returning 1',
  );
  return sessions.length + attempts.length;
}
