import type { TokenScope } from '@kiln/protocol';
import type { FastifyRequest } from 'fastify';

/** Who makes a request. */
export interface Principal {
  userId: number;
  name: string;
  /** Whether it has the rights of a site admin now: not with a token of a lesser scope than `all`. */
  siteAdmin: boolean;
  /** The user's own namespace; also the tenant of jobs that name no other. */
  namespaceId: number;
  /** Of the token; `all` with a session. */
  scope: TokenScope;
  credential: { kind: 'token' | 'session'; id: number };
}

// Beside the request, not on it: a property would have to be declared on every server that a test builds.
const principals = new WeakMap<FastifyRequest, Principal>();

export function rememberPrincipal(request: FastifyRequest, principal: Principal): void {
  principals.set(request, principal);
}

/** The user whose credential a request carries. Only in routes behind `authorize`; a programming error elsewhere. */
export function principalOf(request: FastifyRequest): Principal {
  const principal = principals.get(request);
  if (!principal) throw new Error(`${request.method} ${request.routeOptions.url} is not behind "authorize"`);
  return principal;
}
