import { createHash } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { ApiError } from '../../api-error.ts';
import type { Database } from '../../database/index.ts';

/** More for a network than for a name: offices share one, and a name is what somebody tries passwords of. */
const limits = { name: 20, network: 60 } as const;
const windowMinutes = 15;

const countAttempt = {
  name: 'accounts_count_attempt',
  text: `
    insert into sign_in_attempts as a (subject_sha256, count, window_ends_at)
    values ($1, 1, now() + make_interval(mins => ${windowMinutes}))
    on conflict (subject_sha256) do update set
      count = case when a.window_ends_at <= now() then 1 else least(a.count + 1, 1000000) end,
      window_ends_at = case when a.window_ends_at <= now() then excluded.window_ends_at else a.window_ends_at end
    returning count, ceil(extract(epoch from window_ends_at - now()))::int as seconds`,
};

/**
 * Counts an attempt before its password is looked at, so that many at once are as many. Counts are in the database:
 * several instances on one count together.
 * @param address of the peer
 * @throws ApiError 429 `too_many_attempts`
 */
export async function countSignIn(database: Database, name: string, address: string): Promise<void> {
  // The network first: what it may not do any more does not use up the attempts of others' names.
  await count(database, 'network', networkOf(address));
  await count(database, 'name', name.toLowerCase());
}

/** After the right password: the attempt was none to be counted, nor were those before it of this name. */
export async function forgetSignIn(database: Database, name: string, address: string): Promise<void> {
  await database.query('delete from sign_in_attempts where subject_sha256 = $1', [
    subject('name', name.toLowerCase()),
  ]);
  await database.query('update sign_in_attempts set count = count - 1 where subject_sha256 = $1', [
    subject('network', networkOf(address)),
  ]);
}

async function count(database: Database, kind: keyof typeof limits, value: string): Promise<void> {
  const [row] = await database.query<{ count: number; seconds: number }>(countAttempt, [
    subject(kind, value),
  ]);
  if (!row || row.count <= limits[kind]) return;
  throw new ApiError(
    429,
    'too_many_attempts',
    `Too many attempts to sign in ${kind === 'name' ? 'with this name' : 'from this network'}`,
    `Try again in ${Math.ceil(row.seconds / 60)} minutes. Access tokens and sessions work meanwhile.`,
    row.seconds,
  );
}

function subject(kind: string, value: string): Buffer {
  return createHash('sha256').update(`${kind}\0${value}`).digest();
}

/** An IPv4 address as it is; of an IPv6 address the /64, of which one machine has all. */
export function networkOf(address: string): string {
  const plain = address.replace(/%.*$/, '').toLowerCase();
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(plain)?.[1];
  if (mapped !== undefined || !isIPv6(plain)) return mapped ?? plain;
  const [head = '', tail] = plain.split('::');
  const groups = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? 0 : tail.split(':').length;
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - groups.length - after);
  const all = [...groups, ...Array<string>(zeros).fill('0'), ...(tail ? tail.split(':') : [])];
  return `${all
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}
