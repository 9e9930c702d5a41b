import { argon2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { ApiError } from '../../api-error.ts';
import { createTurns } from '../../database/index.ts';

/**
 * Argon2id with the least memory and passes that OWASP recommends (Password Storage Cheat Sheet, "Argon2id": 19 MiB,
 * 2 passes, 1 lane). They stand in each hash, so that raising them leaves older hashes valid.
 */
const cost: Cost = { memory: 19_456, passes: 2, parallelism: 1 };
const saltBytes = 16;
const hashBytes = 32;

interface Cost {
  /** KiB. */
  memory: number;
  passes: number;
  parallelism: number;
}

const derive = promisify(argon2);
/** Each needs 19 MiB and a thread that others (DNS, files) share: whoever sends many passwords must not have them all. */
const turns = createTurns(2);
/** Some seconds of work; whoever comes after them is better told at once. */
const maxPending = 100;
let pending = 0;

/** @throws ApiError 503 `busy` @returns a PHC string: `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH` */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(saltBytes);
  const hash = await hashWith(password, salt, cost, hashBytes);
  const { memory, passes, parallelism } = cost;
  return `$argon2id$v=19$m=${memory},t=${passes},p=${parallelism}$${unpadded(salt)}$${unpadded(hash)}`;
}

/**
 * Takes as long for no hash as for one: how long an answer takes tells nobody which users there are.
 * @throws ApiError 503 `busy`
 */
export async function isPassword(password: string, stored: string | null | undefined): Promise<boolean> {
  const { salt, hash, ...given } = stored ? parse(stored) : nobody;
  const derived = await hashWith(password, salt, given, hash.length);
  return timingSafeEqual(derived, hash) && Boolean(stored);
}

/** What the password of a user who has none is compared with. */
const nobody = { ...cost, salt: randomBytes(saltBytes), hash: randomBytes(hashBytes) };

async function hashWith(
  password: string,
  salt: Buffer,
  { memory, passes, parallelism }: Cost,
  tagLength: number,
): Promise<Buffer> {
  if (pending >= maxPending) {
    throw new ApiError(
      503,
      'busy',
      'Too many people sign in at the moment',
      'Try again in a few seconds.',
      5,
    );
  }
  // The same letters typed on different keyboards (NIST SP 800-63B, 3.1.1.2).
  const message = password.normalize('NFKC');
  pending++;
  try {
    return await turns.take(() =>
      derive('argon2id', { message, nonce: salt, memory, passes, parallelism, tagLength }),
    );
  } finally {
    pending--;
  }
}

function parse(stored: string): Cost & { salt: Buffer; hash: Buffer } {
  const match = /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([^$]+)\$([^$]+)$/.exec(stored);
  if (!match) throw new Error('a stored password hash cannot be read');
  const [memory, passes, parallelism] = match.slice(1, 4).map(Number) as [number, number, number];
  const [salt, hash] = match.slice(4).map((text) => Buffer.from(text, 'base64')) as [Buffer, Buffer];
  return { memory, passes, parallelism, salt, hash };
}

function unpadded(bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '');
}
