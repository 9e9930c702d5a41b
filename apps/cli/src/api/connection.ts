import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import path from 'node:path';
import { CliError } from '../errors.ts';
import type { Invocation } from '../invocation.ts';
import { findLogin, UnreadableLogins } from './stored-logins.ts';

const defaultUrl = 'http://127.0.0.1:3080';

/** Where the instance is and how to authenticate with it. */
export interface Connection {
  /** Without a slash at its end. */
  url: string;
  token: string | undefined;
  /** Where the token came from, in words for errors. */
  tokenSource: string;
  /** On this machine itself. */
  loopback: boolean;
}

/**
 * `KILN_URL` (or `--url`) and `KILN_TOKEN`, else what `kiln login` kept for that address. Without either the admin token
 * that `kiln serve` left in the data directory is used, but only with an instance on this machine's loopback: it must
 * never travel to another host because somebody set KILN_URL in the wrong directory.
 */
export async function resolveConnection(
  invocation: Pick<Invocation, 'env' | 'cwd'>,
  urlOption: string | undefined,
): Promise<Connection> {
  const url = parseUrl(urlOption ?? (invocation.env['KILN_URL'] || defaultUrl));
  const instance = { url: url.text, loopback: url.loopback };
  const token = invocation.env['KILN_TOKEN'];
  if (token) {
    if (!/^[\x21-\x7e]+$/.test(token)) {
      throw new CliError('KILN_TOKEN holds blanks or characters that no token has', {
        hint: 'set it to the token alone, without quotes or line breaks',
      });
    }
    return { ...instance, token, tokenSource: 'KILN_TOKEN' };
  }
  const missing = ['KILN_TOKEN is not set'];
  const login = await findLogin(invocation, url.text).catch((error: unknown) => {
    // HOME may still be another user's, as with runuser: what that one keeps is no login of this one.
    if (!(error instanceof UnreadableLogins)) throw error;
    missing.push(error.message);
    return undefined;
  });
  if (login) return { ...instance, token: login.token, tokenSource: `kiln login as ${login.user}` };
  if (url.loopback) {
    const file = path.join(dataDirectory(invocation), 'admin-token');
    try {
      return { ...instance, token: (await readFile(file, 'utf8')).trim(), tokenSource: file };
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
      missing.push(`${file} could not be read (${code})`);
    }
  }
  return { ...instance, token: undefined, tokenSource: `none: ${missing.join(', and ')}` };
}

/** The data directory of a local instance, absolute: `KILN_DATA_DIR`, else `.kiln` below the working directory. */
function dataDirectory(invocation: Pick<Invocation, 'env' | 'cwd'>): string {
  return path.resolve(invocation.cwd, invocation.env['KILN_DATA_DIR'] || '.kiln');
}

function parseUrl(text: string): { text: string; loopback: boolean } {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !['http:', 'https:'].includes(url.protocol) || url.username || url.password || url.search) {
    throw new CliError(`${JSON.stringify(text)} is not the address of an instance`, {
      hint: `set KILN_URL to something like ${defaultUrl} or https://kiln.example.com`,
    });
  }
  return { text: `${url.origin}${url.pathname}`.replace(/\/+$/, ''), loopback: isLoopback(url.hostname) };
}

function isLoopback(hostname: string): boolean {
  if (hostname === 'localhost' || hostname === '[::1]') return true;
  return isIP(hostname) === 4 && hostname.startsWith('127.');
}
