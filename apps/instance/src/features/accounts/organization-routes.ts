import {
  createOrganizationSchema,
  organizationListSchema,
  organizationViewSchema,
  setMemberSchema,
} from '@kiln/protocol';
import { z } from 'zod';
import type { HttpServer } from '../../http.ts';
import type { Accounts } from './accounts.ts';
import type { Organizations } from './organizations.ts';
import { principalOf } from './principal.ts';

const byName = z.object({ name: z.string() });
const member = z.object({ name: z.string(), user: z.string() });

/** `/.api/organizations`: site admins make and delete them, their admins say who is in them. */
export function organizationRoutes(
  server: HttpServer,
  { organizations, accounts }: { organizations: Organizations; accounts: Accounts },
): void {
  const tags = ['accounts'];
  const onRequest = accounts.authorizeAccount;

  server.get(
    '/.api/organizations',
    {
      onRequest,
      schema: {
        tags,
        summary: 'List the own organizations, or as a site admin all, by name',
        response: { 200: organizationListSchema },
      },
    },
    async (request) => ({ organizations: await organizations.list(principalOf(request)) }),
  );

  server.post(
    '/.api/organizations',
    {
      onRequest: accounts.authorizeSiteAdmin,
      schema: {
        tags,
        summary: 'Make an organization',
        body: createOrganizationSchema,
        response: { 201: organizationViewSchema },
      },
    },
    async (request, reply) => {
      const principal = principalOf(request);
      const made = await organizations.create(principal, request.body);
      request.log.info({ organization: made.name, by: principal.name }, 'an organization was made');
      return reply.code(201).send(made);
    },
  );

  server.get(
    '/.api/organizations/:name',
    {
      onRequest,
      schema: {
        tags,
        summary: 'Show an organization and who is in it',
        params: byName,
        response: { 200: organizationViewSchema },
      },
    },
    (request) => organizations.get(principalOf(request), request.params.name),
  );

  server.delete(
    '/.api/organizations/:name',
    {
      onRequest: accounts.authorizeSiteAdmin,
      schema: {
        tags,
        summary: 'Delete an organization; its jobs are canceled and stay without a name',
        params: byName,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      const principal = principalOf(request);
      await organizations.delete(principal, request.params.name);
      request.log.info({ by: principal.name }, 'an organization was deleted');
      return reply.code(204).send(null);
    },
  );

  server.put(
    '/.api/organizations/:name/members/:user',
    {
      onRequest,
      schema: {
        tags,
        summary: 'Take a user into an organization, or change the role of a member',
        params: member,
        body: setMemberSchema,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      const principal = principalOf(request);
      const { name, user } = request.params;
      const { role } = request.body;
      await organizations.setMember(principal, name, user, role);
      request.log.info({ organization: name, user, role, by: principal.name }, 'a member was set');
      return reply.code(204).send(null);
    },
  );

  server.delete(
    '/.api/organizations/:name/members/:user',
    {
      onRequest,
      schema: {
        tags,
        summary: 'Remove a member from an organization, or leave it',
        params: member,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      const principal = principalOf(request);
      const { name, user } = request.params;
      await organizations.removeMember(principal, name, user);
      request.log.info({ organization: name, user, by: principal.name }, 'a member was removed');
      return reply.code(204).send(null);
    },
  );
}
