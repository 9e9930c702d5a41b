import { z } from 'zod';
import { ApiError } from '../../api-error.ts';
import type { HttpServer } from '../../http.ts';
import type { Accounts } from '../accounts/index.ts';
import type { SiteConfig } from './site-config.ts';

const executorTokenSchema = z
  .object({ accessToken: z.string(), externalURL: z.string().nullable() })
  .meta({ id: 'ExecutorToken' });

/** `GET /.api/site-config/executor-token`: what an operator needs to connect an executor. */
export function siteConfigRoutes(
  server: HttpServer,
  { siteConfig, accounts }: { siteConfig: SiteConfig; accounts: Accounts },
): void {
  server.get(
    '/.api/site-config/executor-token',
    {
      onRequest: accounts.authorizeSiteAdmin,
      schema: {
        tags: ['site configuration'],
        summary: 'The shared secret of executors (site admins only)',
        response: { 200: executorTokenSchema },
      },
    },
    async (request) => {
      const { executorTokens, externalURL } = siteConfig.current();
      const accessToken = executorTokens[0];
      if (accessToken === undefined) {
        throw new ApiError(
          404,
          'executors_not_configured',
          'No shared secret for executors is configured',
          `Set "executors.accessToken" (at least 20 characters) in ${siteConfig.path}.`,
        );
      }
      request.log.info('the shared secret of executors was shown');
      return { accessToken, externalURL: externalURL ?? null };
    },
  );
}
