import type { FastifyRequest } from 'fastify';

/** Who makes a request. */
export interface Principal {
  userId: number;
  name: string;
  siteAdmin: boolean;
  /** The user's own namespace; also the tenant of jobs that name no other. */
  namespaceId: number;
}

// Beside the request, not on it: a property would have to be declared on every server that a test builds.
const principals = new WeakMap<FastifyRequest, Principal>();

export function rememberPrincipal(request: FastifyRequest, principal: Principal): void {
  principals.set(request, principal);
}

/** The user whose access token a request carries. Only in routes behind `authorize`; a programming error elsewhere. */
export function principalOf(request: FastifyRequest): Principal {
  const principal = principals.get(request);
  if (!principal) throw new Error(`${request.method} ${request.routeOptions.url} is not behind "authorize"`);
  return principal;
}
