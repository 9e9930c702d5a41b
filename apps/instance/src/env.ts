import { editDistance } from '@kiln/protocol';
import { z } from 'zod';
import { parseListenAddress } from './listen-address.ts';

const listenAddress = z.string().transform(parsedBy(parseListenAddress));

/**
 * Every environment variable of the instance. A variable that is set but empty counts as not set.
 * docs/reference/instance-settings.md is made from this.
 */
export const instanceSettings = z.object({
  KILN_DATA_DIR: z.string().default('./.kiln').meta({
    description:
      'Directory of everything this instance keeps on this machine: the embedded database, repository mirrors, log archives and the first access token. One running instance per directory.',
    range: 'a path; made with mode 0700 when it is missing',
  }),
  KILN_LISTEN: listenAddress.default({ host: '127.0.0.1', port: 3080 }).meta({
    description:
      'Where the HTTP server listens. Only this machine by default: put a proxy that ends TLS in front before you open it to others.',
    range: '`HOST:PORT`, `[IPv6]:PORT`, or `:PORT` for every address; port 0 takes a free one',
    shown: '`127.0.0.1:3080`',
  }),
  KILN_DATABASE_URL: z
    .string()
    .regex(/^postgres(?:ql)?:\/\//, 'must begin with postgres:// or postgresql://')
    .optional()
    .meta({
      description:
        'A PostgreSQL database (14 or newer, session connections: no transaction-mode pooler) to use in place of the embedded one; what several instance processes share.',
      range: '`postgres://USER:PASSWORD@HOST:PORT/DATABASE`',
      shown: 'the embedded database',
    }),
  KILN_BLOB_DIR: z.string().optional().meta({
    description:
      'Directory of log archives and submitted files. Several instance processes on one database need the same one, on a file system that all of them reach; each has a data directory of its own.',
    range: 'a path; made when it is missing',
    shown: '`blobs` in the data directory',
  }),
  KILN_SECRET_KEY_FILE: z.string().optional().meta({
    description:
      'A file of yours with the key that encrypts executor secrets and the site configuration; what several instance processes on one database share. While a key is replaced it holds several: the first one encrypts, all decrypt (docs/secrets.md).',
    range: 'a path to a file with keys of 64 hexadecimal characters, as `openssl rand -hex 32` prints',
    shown: '`secret-key` in the data directory, made at the first start',
  }),
  KILN_SECRET_KEY: z.string().optional().meta({
    description: 'The same key in the environment, where a file cannot be had.',
    range: 'keys as in KILN_SECRET_KEY_FILE, separated by spaces or commas',
    shown: 'not set',
  }),
  KILN_SITE_CONFIG_FILE: z.string().optional().meta({
    description:
      'A site configuration file of yours, such as one from a configuration management, in place of the site configuration in the database. It is read and followed; nobody can change it through the instance. Several instance processes on one database need the same one.',
    range: 'a path to a file that exists',
    shown: 'the site configuration in the database, made at the first start',
  }),
  KILN_TRUST_PROXY: z.string().transform(parsedBy(parseTrustProxy)).optional().meta({
    description:
      'Whose `X-Forwarded-*` headers are believed. Without it the address of the connection counts, so behind a proxy every client seems to be the proxy. Whoever is trusted here can claim any address.',
    range:
      'a number of proxies (1-10), or IP addresses and CIDR ranges separated by commas (`loopback`, `linklocal` and `uniquelocal` too)',
    shown: 'nobody',
  }),
  KILN_METRICS_LISTEN: listenAddress.optional().meta({
    description:
      'A second address that serves only `/metrics`, without an access token, for a Prometheus on a private network.',
    range: 'as KILN_LISTEN',
    shown: 'none: `/metrics` of the main address, for loopback peers and site admins',
  }),
  KILN_LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal']).default('info').meta({
    description:
      'How much is logged (JSON lines on standard error). `debug` has a line for each request. An `error` line means that somebody must act.',
    range: '`trace`, `debug`, `info`, `warn`, `error`, `fatal`',
  }),
  KILN_SHUTDOWN_SECONDS: z.string().transform(parsedBy(parseSeconds)).default(20).meta({
    description:
      'How long a stopping instance waits for requests in progress before it cuts them off. Held dequeues are answered at once.',
    range: '1-600, seconds',
    shown: '`20`',
  }),
});
export type InstanceSettings = z.infer<typeof instanceSettings>;

/** A variable has a value that cannot be used; the message has one line per mistake. */
export class SettingsError extends Error {
  override readonly name = 'SettingsError';
}

/**
 * Reads the instance's settings.
 * @param env such as `process.env`
 * @throws SettingsError
 */
export function readInstanceSettings(env: Readonly<Record<string, string | undefined>>): InstanceSettings {
  const set = Object.fromEntries(
    Object.keys(instanceSettings.shape).flatMap((name) => {
      const value = env[name]?.trim();
      return value === undefined || value === '' ? [] : [[name, value]];
    }),
  );
  const result = instanceSettings.safeParse(set);
  if (result.success) return result.data;
  // Values are not quoted by zod's own messages: the database address may hold a password.
  throw new SettingsError(
    result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('\n'),
  );
}

/** Edits by which a variable's name may differ from the one that was meant. */
const longestSlip = 2;

/** Variables that are set and have no effect, and what was probably meant: a line for each. */
export function misspeltSettings(env: Readonly<Record<string, string | undefined>>): string[] {
  const known = Object.keys(instanceSettings.shape);
  return Object.keys(env)
    .filter((name) => name.startsWith('KILN_') && !known.includes(name))
    .toSorted()
    .flatMap((name) => {
      const meant = known.find((candidate) => editDistance(candidate, name) <= longestSlip);
      return meant === undefined ? [] : [`${name} is no setting; did you mean ${meant}?`];
    });
}

/** What proxies are believed: how many, or which addresses. */
export type TrustProxy = number | string[];

/** @throws RangeError */
function parseTrustProxy(text: string): TrustProxy {
  if (/^\d+$/.test(text)) {
    const count = Number(text);
    if (count >= 1 && count <= 10) return count;
    throw new RangeError('must be 1 to 10 when it is a number of proxies; leave it out to trust none');
  }
  const ranges = text.split(',').map((range) => range.trim());
  const wrong = ranges.find(
    (range) => !/^(?:loopback|linklocal|uniquelocal|[0-9a-fA-F:.]+(?:\/[0-9]{1,3})?)$/.test(range),
  );
  if (wrong === undefined) return ranges;
  throw new RangeError(
    `${JSON.stringify(wrong)} is not an address or a range such as "10.0.0.0/8"; a name cannot be trusted, and "true" would let everybody claim any address`,
  );
}

/** @throws RangeError */
function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (/^\d+$/.test(text) && seconds >= 1 && seconds <= 600) return seconds;
  throw new RangeError('must be a whole number of seconds from 1 to 600');
}

/** Makes a zod transform of a function that throws a RangeError. */
function parsedBy<Value>(parse: (text: string) => Value) {
  return (text: string, context: z.RefinementCtx): Value => {
    try {
      return parse(text);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      context.addIssue({ code: 'custom', message: error.message });
      return z.NEVER;
    }
  };
}
