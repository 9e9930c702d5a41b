import { sessionListSchema, signInSchema, userViewSchema } from '@kiln/protocol';
import { z } from 'zod';
import { ApiError } from '../../api-error.ts';
import type { Database } from '../../database/index.ts';
import type { HttpServer } from '../../http.ts';
import type { Accounts } from './accounts.ts';
import { principalOf } from './principal.ts';
import { type ExternalURL, isFromPage, requireSameOrigin, setSessionCookie } from './session-cookie.ts';
import { createSession, endSession, listSessions, sessionSeconds } from './sessions.ts';
import { signIn } from './sign-in.ts';
import type { Users } from './users.ts';

export interface SessionRoutesOptions {
  database: Database;
  accounts: Accounts;
  users: Users;
  externalURL: ExternalURL;
}

/** `/.api/session`: sign in and out with a browser; `/.api/sessions`: where one is signed in. */
export function sessionRoutes(
  server: HttpServer,
  { database, accounts, users, externalURL }: SessionRoutesOptions,
): void {
  const tags = ['accounts'];
  const onRequest = accounts.authorizeAccount;

  server.post(
    '/.api/session',
    {
      schema: {
        tags,
        summary: 'Sign in with a browser, which gets a cookie',
        security: [],
        body: signInSchema,
        response: { 201: userViewSchema },
      },
      // A page of another site must not sign anybody in as somebody else.
      onRequest: async (request) => {
        if (isFromPage(request)) requireSameOrigin(request, externalURL());
      },
    },
    async (request, reply) => {
      const user = await signIn(database, request.body, request.ip);
      const token = await createSession(database, user);
      setSessionCookie(request, reply, externalURL, { token, seconds: sessionSeconds });
      request.log.info({ user: user.name, peer: request.ip }, 'a user signed in');
      return reply.code(201).send(await users.get(user.name));
    },
  );

  server.delete(
    '/.api/session',
    { onRequest, schema: { tags, summary: 'Sign out', response: { 204: z.null() } } },
    async (request, reply) => {
      const { userId, credential } = principalOf(request);
      if (credential.kind !== 'session') {
        throw new ApiError(
          400,
          'no_session',
          'This request came with an access token, not with a session',
          `Revoke the token: DELETE /.api/access-tokens/${credential.id}`,
        );
      }
      await endSession(database, userId, credential.id);
      setSessionCookie(request, reply, externalURL, undefined);
      return reply.code(204).send(null);
    },
  );

  server.get(
    '/.api/sessions',
    {
      onRequest,
      schema: { tags, summary: 'List the own sessions, newest first', response: { 200: sessionListSchema } },
    },
    async (request) => {
      const { userId, credential } = principalOf(request);
      const current = credential.kind === 'session' ? credential.id : undefined;
      return { sessions: await listSessions(database, userId, current) };
    },
  );

  server.delete(
    '/.api/sessions/:id',
    {
      onRequest,
      schema: {
        tags,
        summary: 'End one of the own sessions',
        params: z.object({ id: z.coerce.number().int().positive() }),
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      if (!(await endSession(database, principalOf(request).userId, id))) {
        throw new ApiError(404, 'unknown_session', `There is no session ${id}`);
      }
      return reply.code(204).send(null);
    },
  );
}
