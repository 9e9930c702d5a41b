import { linkAccountSchema } from '@kiln/protocol';
import { parseCookie, stringifySetCookie } from 'cookie';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { ApiError } from '../../api-error.ts';
import type { Database } from '../../database/index.ts';
import type { HttpServer } from '../../http.ts';
import type { Accounts } from './accounts.ts';
import { linkAccount, userOfAccount } from './external-identities.ts';
import type { OpenIDConnect, OpenIDConnectSettings } from './openid-connect.ts';
import { principalOf } from './principal.ts';
import { setSessionCookie } from './session-cookie.ts';
import { createSession, sessionSeconds } from './sessions.ts';

export interface OpenIDRoutesOptions {
  database: Database;
  accounts: Accounts;
  openIDConnect: OpenIDConnect;
  siteConfig: {
    current(): { externalURL: string | undefined; openIDConnect: OpenIDConnectSettings | undefined };
  };
}

const callbackPath = '/.auth/openid-connect/callback';
/** Time to type a password and to find the second factor. */
const beginSeconds = 15 * 60;
/** Where nothing else is asked for: who one is. */
const defaultReturn = '/.api/user';

/** What a browser keeps from the beginning of a sign-in to its end. Whoever changes it spoils their own sign-in alone. */
const begunSchema = z.object({
  state: z.string().min(1),
  nonce: z.string().min(1),
  codeVerifier: z.string().min(1),
  returnTo: z.string(),
});

/** `/.auth/openid-connect`: sign in with an account of an OpenID Connect provider; and linking users to accounts. */
export function openIDRoutes(
  server: HttpServer,
  { database, accounts, openIDConnect, siteConfig }: OpenIDRoutesOptions,
): void {
  const hide = true;

  server.get(
    '/.auth/openid-connect/sign-in',
    { schema: { hide, querystring: z.object({ returnTo: z.string().max(2000).default(defaultReturn) }) } },
    async (request, reply) => {
      const { settings, externalURL } = requireSettings();
      const returnTo = ownPath(request.query.returnTo, externalURL);
      const { url, begun } = await openIDConnect.begin(settings, new URL(externalURL + callbackPath));
      setBegun(reply, externalURL, JSON.stringify({ ...begun, returnTo }), beginSeconds);
      return reply.redirect(url.href, 303);
    },
  );

  server.get(callbackPath, { schema: { hide } }, async (request, reply) => {
    const { settings, externalURL } = requireSettings();
    const { returnTo, ...begun } = readBegun(request, externalURL);
    const query = new URL(request.url, externalURL).search;
    const account = await openIDConnect.finish(settings, new URL(externalURL + callbackPath + query), begun);
    const user = await userOfAccount(database, account, settings.allowSignup);
    const token = await createSession(database, user);
    setBegun(reply, externalURL, '', 0);
    setSessionCookie(request, reply, () => externalURL, { token, seconds: sessionSeconds });
    request.log.info({ user: user.name, issuer: account.issuer, peer: request.ip }, 'a user signed in');
    return reply.redirect(ownPath(returnTo, externalURL), 303);
  });

  server.put(
    '/.api/users/:name/external-account',
    {
      onRequest: accounts.authorizeSiteAdmin,
      schema: {
        tags: ['accounts'],
        summary: 'Let a user sign in with an account of the OpenID Connect provider',
        params: z.object({ name: z.string() }),
        body: linkAccountSchema,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      const { settings } = requireSettings();
      const { subject } = request.body;
      const { name } = request.params;
      const issuer = await openIDConnect.issuer(settings);
      await linkAccount(database, name, { issuer, subject });
      request.log.info(
        { name, issuer, subject, by: principalOf(request).name },
        'a user was linked to an account',
      );
      return reply.code(204).send(null);
    },
  );

  function requireSettings(): { settings: OpenIDConnectSettings; externalURL: string } {
    const { openIDConnect: settings, externalURL } = siteConfig.current();
    if (settings && externalURL !== undefined) return { settings, externalURL };
    throw new ApiError(
      404,
      'no_provider',
      'No OpenID Connect provider is configured',
      'Set externalURL and auth.openIDConnect.issuer, clientID and clientSecret in the site configuration.',
    );
  }
}

/** A path of this instance: nobody is sent elsewhere by an address of ours. @throws ApiError 400 `invalid_request` */
function ownPath(path: string, externalURL: string): string {
  const url = path.startsWith('/') ? URL.parse(path, externalURL) : null;
  // The path of "/.//evil.example/" is "//evil.example/", which is an address on another host by itself.
  if (url?.origin === new URL(externalURL).origin && !url.pathname.startsWith('//')) {
    return url.pathname + url.search + url.hash;
  }
  throw new ApiError(400, 'invalid_request', 'returnTo must be a path of this instance, such as /');
}

function setBegun(reply: FastifyReply, externalURL: string, text: string, seconds: number): void {
  const { name, secure } = begunCookie(externalURL);
  const value = Buffer.from(text).toString('base64url');
  const cookie = {
    name,
    value,
    httpOnly: true,
    sameSite: 'lax',
    secure,
    path: '/',
    maxAge: seconds,
  } as const;
  reply.header('set-cookie', stringifySetCookie(cookie));
}

/** The browser that comes back must be the one that went: else somebody could sign others in as themselves. */
function readBegun(request: FastifyRequest, externalURL: string): z.infer<typeof begunSchema> {
  const value = parseCookie(request.headers.cookie ?? '')[begunCookie(externalURL).name] ?? '';
  try {
    return begunSchema.parse(JSON.parse(Buffer.from(value, 'base64url').toString()));
  } catch {
    throw new ApiError(
      403,
      'not_begun',
      'This browser has begun no sign-in, or too long ago',
      'Begin again: /.auth/openid-connect/sign-in',
    );
  }
}

function begunCookie(externalURL: string): { name: string; secure: boolean } {
  const secure = externalURL.startsWith('https:');
  return { name: secure ? '__Host-kiln_sign_in' : 'kiln_sign_in', secure };
}
