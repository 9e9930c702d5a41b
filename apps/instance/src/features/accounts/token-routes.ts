import {
  accessTokenListSchema,
  createAccessTokenByPasswordSchema,
  createAccessTokenSchema,
  createdAccessTokenSchema,
} from '@kiln/protocol';
import { z } from 'zod';
import { ApiError } from '../../api-error.ts';
import type { Database } from '../../database/index.ts';
import type { HttpServer } from '../../http.ts';
import type { Accounts } from './accounts.ts';
import { createAccessToken, listAccessTokens, revokeAccessToken } from './own-tokens.ts';
import { principalOf } from './principal.ts';
import { signIn } from './sign-in.ts';
import { requireVisibleUser } from './users.ts';

/** `/.api/access-tokens`: the own ones; site admins revoke anybody's. */
export function tokenRoutes(
  server: HttpServer,
  { database, accounts }: { database: Database; accounts: Accounts },
): void {
  const tags = ['accounts'];
  const onRequest = accounts.authorizeAccount;

  server.get(
    '/.api/access-tokens',
    {
      onRequest,
      schema: {
        tags,
        summary: 'List the own access tokens, newest first, without the tokens themselves',
        querystring: z.object({
          user: z.string().optional().meta({ description: 'Those of this user; for site admins' }),
        }),
        response: { 200: accessTokenListSchema },
      },
    },
    async (request) => {
      const principal = principalOf(request);
      const { user = principal.name } = request.query;
      const { id } = await requireVisibleUser(database, principal, user);
      return { accessTokens: await listAccessTokens(database, id) };
    },
  );

  server.post(
    '/.api/access-tokens',
    {
      onRequest,
      schema: {
        tags,
        summary: 'Make an access token',
        body: createAccessTokenSchema,
        response: { 201: createdAccessTokenSchema },
      },
    },
    async (request, reply) => {
      const { userId, name } = principalOf(request);
      const created = await createAccessToken(database, { id: userId, name }, request.body);
      request.log.info({ user: name, tokenId: created.accessToken.id }, 'an access token was made');
      return reply.code(201).send(created);
    },
  );

  server.post(
    '/.api/access-tokens/by-password',
    {
      schema: {
        tags,
        summary: 'Make an access token with a name and a password, as "kiln login" does',
        security: [],
        body: createAccessTokenByPasswordSchema,
        response: { 201: createdAccessTokenSchema },
      },
    },
    async (request, reply) => {
      const { name, password, ...token } = request.body;
      const user = await signIn(database, { name, password }, request.ip);
      const created = await createAccessToken(database, user, token);
      request.log.info({ user: user.name, tokenId: created.accessToken.id }, 'an access token was made');
      return reply.code(201).send(created);
    },
  );

  server.delete(
    '/.api/access-tokens/:id',
    {
      onRequest,
      schema: {
        tags,
        summary: 'Revoke an access token, at once',
        params: z.object({ id: z.coerce.number().int().positive() }),
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const { userId, name, siteAdmin } = principalOf(request);
      if (!(await revokeAccessToken(database, siteAdmin ? undefined : userId, id))) {
        throw new ApiError(404, 'unknown_token', `There is no access token ${id}`);
      }
      request.log.info({ user: name, tokenId: id }, 'an access token was revoked');
      return reply.code(204).send(null);
    },
  );
}
