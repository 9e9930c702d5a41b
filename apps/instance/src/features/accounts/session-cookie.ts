import { parseCookie, stringifySetCookie } from 'cookie';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { ApiError } from '../../api-error.ts';

/** `externalURL` of the site configuration: behind a proxy only it says how browsers reach the instance. */
export type ExternalURL = () => string | undefined;

/**
 * The session token that a browser sent, if any. Over https only under the name that other hosts of the domain cannot
 * set: with the plain one they could sign somebody in as another user.
 */
export function readSessionCookie(
  request: FastifyRequest,
  externalURL: string | undefined,
): string | undefined {
  const header = request.headers.cookie;
  return header === undefined ? undefined : parseCookie(header)[cookieName(isSecure(request, externalURL))];
}

/**
 * Scripts of pages cannot read it, and other sites' pages do not send it with what changes anything. Over https it
 * travels only so, and its name keeps other hosts of the domain from setting it.
 */
export function setSessionCookie(
  request: FastifyRequest,
  reply: FastifyReply,
  externalURL: ExternalURL,
  session: { token: string; seconds: number } | undefined,
): void {
  const secure = isSecure(request, externalURL());
  reply.header(
    'set-cookie',
    stringifySetCookie({
      name: cookieName(secure),
      value: session?.token ?? '',
      httpOnly: true,
      sameSite: 'lax',
      secure,
      path: '/',
      maxAge: session?.seconds ?? 0,
    }),
  );
}

/** RFC 6265bis, 4.1.3.2: browsers take `__Host-` only with `Secure`, `Path=/` and without `Domain`. */
function cookieName(secure: boolean): string {
  return secure ? '__Host-kiln_session' : 'kiln_session';
}

function isSecure(request: FastifyRequest, externalURL: string | undefined): boolean {
  return request.protocol === 'https' || externalURL?.startsWith('https:') === true;
}

/**
 * Refuses what another site's page made the browser send. Browsers say where a request comes from, and no page can
 * change what they say. A request without either header is none of a browser, or of one too old to be trusted with
 * a cookie.
 * @throws ApiError 403 `cross_origin`
 */
export function requireSameOrigin(request: FastifyRequest, externalURL: string | undefined): void {
  if (isSafe(request.method)) return;
  const { origin, 'sec-fetch-site': site } = request.headers;
  const own = [`${request.protocol}://${request.host}`, externalURL && new URL(externalURL).origin];
  if (site !== undefined ? site === 'same-origin' : origin !== undefined && own.includes(origin)) return;
  throw new ApiError(
    403,
    'cross_origin',
    'This request was not made by a page of this instance',
    'Programs use an access token instead of a session. Behind a proxy set externalURL in the site configuration.',
  );
}

/** Whether a request comes from a page, of whatever site. */
export function isFromPage({ headers }: FastifyRequest): boolean {
  return headers.origin !== undefined || headers['sec-fetch-site'] !== undefined;
}

function isSafe(method: string): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS';
}
