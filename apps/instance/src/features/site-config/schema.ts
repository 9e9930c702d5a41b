import { parseByteSize } from '@kiln/protocol';
import { z } from 'zod';
import type { OpenIDConnectSettings } from '../accounts/index.ts';

/** What stands in place of a secret wherever the configuration is shown. No secret can look like it. */
export function hiddenSecretMark(id: string): string {
  return `hidden secret ${id}`;
}

/** The id in a mark; undefined for any other text. */
export function hiddenSecretId(text: string): string | undefined {
  return /^hidden secret ([0-9a-f]{8})$/.exec(text)?.[1];
}

/** What other programs put in place of secrets that they hide. */
const redactedWord = 'REDACTED';

const sharedSecret = z
  .string()
  .meta({ writeOnly: true, pattern: '^([!-~]{20,}|hidden secret [0-9a-f]{8})$' })
  .refine((value) => value !== redactedWord, {
    error: `is the word ${redactedWord}, which stands for a secret that was hidden: write the secret itself`,
    abort: true,
  })
  .refine((value) => hiddenSecretId(value) === undefined, {
    error: 'stands for a hidden secret that is not in the version before: write the secret itself',
    abort: true,
  })
  .refine((value) => value.length >= 20, { error: 'must have at least 20 characters' })
  // It travels in an HTTP header, and as the value of an environment variable.
  .refine((value) => /^[\x21-\x7e]*$/.test(value), {
    error: 'must consist of printable ASCII characters without spaces',
  });

const httpURL = z
  .string()
  .meta({ pattern: '^https?://' })
  .refine((text) => isPlainURL(text), {
    error:
      'must be an http or https URL such as "https://kiln.example.com", without query, fragment or password',
  })
  .transform((text) => text.replace(/\/+$/, ''));

/** Exactly as the provider writes it: also a slash at its end is a part of it. */
const issuerURL = z
  .string()
  .refine((text) => isPlainURL(text) && (text.startsWith('https:') || isLoopbackURL(text)), {
    error: 'must be an https URL such as "https://accounts.example.com", without query, fragment or password',
  });

const smallestLogBytes = 1024 * 1024;

const byteSize = z
  .union(
    [
      z.int().meta({ minimum: smallestLogBytes }),
      z.string().meta({ pattern: '^\\s*[0-9.]+\\s*[KMGTPkmgtp]?[iI]?[bB]?\\s*$' }),
    ],
    { error: 'must be a size such as "2GiB"' },
  )
  .transform((value, context) => {
    try {
      return typeof value === 'number' ? value : parseByteSize(value);
    } catch {
      // The error itself would quote the value.
      context.addIssue({ code: 'custom', message: 'is not a size such as "2GiB"' });
      return z.NEVER;
    }
  });

/** Every key of the site configuration. `null` is not "not set": leave a key out instead. */
export const siteConfigSchema = z.strictObject({
  externalURL: httpURL.optional().meta({
    description: 'The address at which executors and people reach this instance.',
  }),
  'executors.accessToken': sharedSecret.optional().meta({
    description:
      'The shared secret of executors (their EXECUTOR_FRONTEND_PASSWORD), at least 20 characters. Without it executors are refused.',
  }),
  'executors.accessTokens': z.array(sharedSecret).max(20).default([]).meta({
    description:
      'Further shared secrets that are accepted, for a rotation without downtime: put the new one here, move the executors to it, then make it executors.accessToken.',
  }),
  'executors.requireJobTokens': z.boolean().default(false).meta({
    description:
      'Refuse the shared secret on the routes of a job (logs, marks, git, files), which then need the token of that job. Executors older than job tokens stop working.',
  }),
  'retention.jobsDays': z.int().min(1).max(36_500).default(90).meta({
    description: 'Ended jobs and their logs are deleted after this many days.',
  }),
  'retention.auditDays': z.int().min(1).max(36_500).default(365).meta({
    description: 'Audit records are deleted after this many days.',
  }),
  'logs.maxBytesPerJob': byteSize
    .pipe(z.int().min(smallestLogBytes, { error: 'must be at least 1 MiB' }))
    .default(2 * 1024 ** 3)
    .meta({
      description:
        'Output of an attempt beyond this is dropped, with a marker in the log. 2 GiB when not set.',
    }),
  'auth.openIDConnect.issuer': issuerURL.optional().meta({
    description:
      'The OpenID Connect provider with which people sign in, as its discovery document names itself. People sign in with it once the two keys below and externalURL are set too.',
  }),
  'auth.openIDConnect.clientID': z.string().min(1).max(500).optional().meta({
    description: 'The name under which this instance is registered with the provider.',
  }),
  'auth.openIDConnect.clientSecret': sharedSecret.optional().meta({
    description: 'The secret that the provider gave this instance, at least 20 characters.',
  }),
  'auth.openIDConnect.allowSignup': z.boolean().default(false).meta({
    description:
      'Make a user for whoever signs in with the provider for the first time. Otherwise a site admin links users to accounts of the provider.',
  }),
});
type SiteConfigKeys = z.infer<typeof siteConfigSchema>;

export const siteConfigKeys: readonly string[] = Object.keys(siteConfigSchema.shape);

/** Keys whose strings are secrets, also those in arrays. */
export const secretKeys: ReadonlySet<string> = new Set(
  Object.entries(siteConfigSchema.shape)
    .filter(([, schema]) =>
      JSON.stringify(z.toJSONSchema(schema, { io: 'input' })).includes('"writeOnly":true'),
    )
    .map(([key]) => key),
);

/** The site configuration in force, as rooms read it. */
export interface SiteConfigValues {
  /** Without a slash at its end; undefined: not set. */
  externalURL: string | undefined;
  /** Every shared secret that executors may use, the first one is what new executors are given. Empty: executors are not configured. */
  executorTokens: readonly string[];
  /** Refuse the shared secret on job routes. */
  requireJobTokens: boolean;
  retention: { jobsDays: number; auditDays: number };
  logs: { maxBytesPerJob: number };
  /** Undefined: people sign in with passwords alone. */
  openIDConnect: OpenIDConnectSettings | undefined;
}

export function toValues(keys: SiteConfigKeys): SiteConfigValues {
  const accessToken = keys['executors.accessToken'];
  return {
    externalURL: keys.externalURL,
    executorTokens: [...(accessToken === undefined ? [] : [accessToken]), ...keys['executors.accessTokens']],
    requireJobTokens: keys['executors.requireJobTokens'],
    retention: { jobsDays: keys['retention.jobsDays'], auditDays: keys['retention.auditDays'] },
    logs: { maxBytesPerJob: keys['logs.maxBytesPerJob'] },
    openIDConnect: openIDConnectOf(keys),
  };
}

function openIDConnectOf(keys: SiteConfigKeys): OpenIDConnectSettings | undefined {
  const issuer = keys['auth.openIDConnect.issuer'];
  const clientID = keys['auth.openIDConnect.clientID'];
  const clientSecret = keys['auth.openIDConnect.clientSecret'];
  if (issuer === undefined || clientID === undefined || clientSecret === undefined) return undefined;
  return { issuer, clientID, clientSecret, allowSignup: keys['auth.openIDConnect.allowSignup'] };
}

function isPlainURL(text: string): boolean {
  const url = URL.parse(text);
  return (
    url !== null &&
    /^https?:$/.test(url.protocol) &&
    url.username === '' &&
    url.password === '' &&
    !/[?#\s]/.test(text)
  );
}

/** A provider on this machine itself needs no TLS. */
function isLoopbackURL(text: string): boolean {
  const host = URL.parse(text)?.hostname ?? '';
  return host === 'localhost' || host === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(host);
}
