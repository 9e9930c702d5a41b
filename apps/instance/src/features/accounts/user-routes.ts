import {
  createUserSchema,
  setPasswordSchema,
  setSiteAdminSchema,
  userListSchema,
  userViewSchema,
} from '@kiln/protocol';
import { z } from 'zod';
import type { HttpServer } from '../../http.ts';
import type { Accounts } from './accounts.ts';
import { principalOf } from './principal.ts';
import type { Users } from './users.ts';

const byName = z.object({ name: z.string() });

/** `/.api/user` and `/.api/users`: oneself, and for site admins everybody. */
export function userRoutes(
  server: HttpServer,
  { users, accounts }: { users: Users; accounts: Accounts },
): void {
  const tags = ['accounts'];

  server.get(
    '/.api/user',
    {
      onRequest: accounts.authorizeAccount,
      schema: { tags, summary: 'The user who asks', response: { 200: userViewSchema } },
    },
    (request) => users.get(principalOf(request).name),
  );

  server.get(
    '/.api/users',
    {
      onRequest: accounts.authorizeSiteAdmin,
      schema: { tags, summary: 'List users, by name', response: { 200: userListSchema } },
    },
    async () => ({ users: await users.list() }),
  );

  server.post(
    '/.api/users',
    {
      onRequest: accounts.authorizeSiteAdmin,
      schema: {
        tags,
        summary: 'Make a user; without a password it cannot sign in',
        body: createUserSchema,
        response: { 201: userViewSchema },
      },
    },
    async (request, reply) => {
      const user = await users.create(request.body);
      const { name, siteAdmin } = user;
      request.log.info({ name, siteAdmin, by: principalOf(request).name }, 'a user was made');
      return reply.code(201).send(user);
    },
  );

  server.put(
    '/.api/users/:name/password',
    {
      onRequest: accounts.authorizeAccount,
      schema: {
        tags,
        summary: 'Set the own password, or as a site admin that of another; ends other sessions of the user',
        params: byName,
        body: setPasswordSchema,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      const { name } = request.params;
      const principal = principalOf(request);
      await users.setPassword(principal, name, request.body, request.ip);
      request.log.info({ name, by: principal.name }, 'a password was set');
      return reply.code(204).send(null);
    },
  );

  server.put(
    '/.api/users/:name/site-admin',
    {
      onRequest: accounts.authorizeSiteAdmin,
      schema: {
        tags,
        summary: 'Make a user a site admin, or one no more',
        params: byName,
        body: setSiteAdminSchema,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      const { name } = request.params;
      const { siteAdmin } = request.body;
      await users.setSiteAdmin(name, siteAdmin);
      request.log.info({ name, siteAdmin, by: principalOf(request).name }, 'the role of a user was set');
      return reply.code(204).send(null);
    },
  );

  server.delete(
    '/.api/users/:name',
    {
      onRequest: accounts.authorizeSiteAdmin,
      schema: {
        tags,
        summary: 'Delete a user with access tokens and sessions; jobs are canceled and stay without a name',
        params: byName,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      await users.delete(request.params.name);
      request.log.info({ by: principalOf(request).name }, 'a user was deleted');
      return reply.code(204).send(null);
    },
  );
}
