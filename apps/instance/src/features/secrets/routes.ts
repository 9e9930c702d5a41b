import {
  maxSetSecretBytes,
  pageSizeSchema,
  rotatedKeySchema,
  secretKeySchema,
  secretListSchema,
  secretScopeSchema,
  secretSetSchema,
  secretUseListSchema,
  setSecretSchema,
} from '@kiln/protocol';
import { z } from 'zod';
import type { HttpServer } from '../../http.ts';
import { type Accounts, principalOf } from '../accounts/index.ts';
import type { Secrets } from './secrets.ts';

const secretParams = z.object({ scope: secretScopeSchema, key: secretKeySchema });
const usesQuery = z.object({
  scope: secretScopeSchema.optional(),
  key: secretKeySchema.optional(),
  first: pageSizeSchema,
  after: z
    .string()
    .regex(/^\d{1,15}$/, 'must be the nextCursor of the page before')
    .transform(Number)
    .optional(),
});

/** `/.api/secrets` and `/.api/secret-uses`: executor secrets, for site admins. No reply holds a value. */
export function secretRoutes(
  server: HttpServer,
  { secrets, accounts }: { secrets: Secrets; accounts: Accounts },
): void {
  const tags = ['secrets'];
  const onRequest = accounts.authorizeSiteAdmin;

  server.get(
    '/.api/secrets',
    {
      onRequest,
      schema: {
        tags,
        summary: 'List executor secrets, by key, without their values',
        querystring: z.object({ scope: secretScopeSchema.optional() }),
        response: { 200: secretListSchema },
      },
    },
    async (request) => ({ secrets: await secrets.list(request.query.scope) }),
  );

  server.put(
    '/.api/secrets/:scope/:key',
    {
      onRequest,
      bodyLimit: maxSetSecretBytes,
      schema: {
        tags,
        summary: 'Make an executor secret, or give it a new value',
        params: secretParams,
        body: setSecretSchema,
        response: { 200: secretSetSchema },
      },
    },
    async (request) => {
      const { scope, key } = request.params;
      const set = await secrets.set(scope, key, request.body.value);
      const { version } = set.secret;
      request.log.info({ scope, key, version, user: principalOf(request).name }, 'a secret was set');
      return set;
    },
  );

  server.delete(
    '/.api/secrets/:scope/:key',
    {
      onRequest,
      schema: {
        tags,
        summary: 'Remove an executor secret; the log of its uses stays',
        params: secretParams,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      const { scope, key } = request.params;
      await secrets.remove(scope, key);
      request.log.info({ scope, key, user: principalOf(request).name }, 'a secret was removed');
      return reply.code(204).send(null);
    },
  );

  server.get(
    '/.api/secret-uses',
    {
      onRequest,
      schema: {
        tags,
        summary: 'Which jobs got which secrets, newest first; also of secrets that are gone',
        querystring: usesQuery,
        response: { 200: secretUseListSchema },
      },
    },
    (request) => secrets.uses(request.query),
  );

  server.post(
    '/.api/secrets/rotate-key',
    {
      onRequest,
      schema: {
        tags,
        summary: 'Encrypt all secrets with the current key of this instance, so that older ones can go',
        response: { 200: rotatedKeySchema },
      },
    },
    () => secrets.rotateKey(),
  );
}
