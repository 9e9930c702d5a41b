import {
  maxSaveSiteConfigBytes,
  pageSizeSchema,
  rollBackSiteConfigSchema,
  saveSiteConfigSchema,
  setSiteConfigKeySchema,
  siteConfigDiffSchema,
  siteConfigHistorySchema,
  siteConfigKeySchema,
  siteConfigSavedSchema,
  siteConfigVersionTextSchema,
  siteConfigViewSchema,
} from '@kiln/protocol';
import { z } from 'zod';
import { ApiError } from '../../api-error.ts';
import type { HttpServer } from '../../http.ts';
import { type Accounts, principalOf } from '../accounts/index.ts';
import type { SiteConfigHistory } from './history.ts';
import { siteConfigJsonSchema } from './json-schema.ts';
import type { SiteConfig } from './site-config.ts';

export interface SiteConfigRoutesOptions {
  siteConfig: SiteConfig;
  accounts: Accounts;
}

const tags = ['site configuration'];

/** Columns hold 32 bits. */
const versionNumber = z.coerce
  .number()
  .int()
  .min(1)
  .max(2 ** 31 - 1);
const historyQuery = z.object({
  first: pageSizeSchema,
  after: versionNumber.optional().meta({ description: 'The nextCursor of the page before' }),
});

/** `/.api/site-config`: the site configuration and its history, for site admins. Only `executor-token` shows a secret. */
export function siteConfigRoutes(server: HttpServer, options: SiteConfigRoutesOptions): void {
  readingRoutes(server, options);
  historyRoutes(server, options);
  changingRoutes(server, options);
  executorTokenRoute(server, options);
}

function readingRoutes(server: HttpServer, { siteConfig, accounts }: SiteConfigRoutesOptions): void {
  const onRequest = accounts.authorizeSiteAdmin;

  server.get(
    '/.api/site-config',
    {
      onRequest,
      schema: {
        tags,
        summary: 'The site configuration, with hidden secrets',
        response: { 200: siteConfigViewSchema },
      },
    },
    () => siteConfig.show(),
  );

  server.get(
    '/.api/site-config/schema',
    {
      onRequest,
      schema: {
        tags,
        summary: 'The JSON Schema of the site configuration',
        response: { 200: z.record(z.string(), z.unknown()) },
      },
    },
    async () => siteConfigJsonSchema(),
  );
}

function historyRoutes(server: HttpServer, { siteConfig, accounts }: SiteConfigRoutesOptions): void {
  const onRequest = accounts.authorizeSiteAdmin;

  server.get(
    '/.api/site-config/history',
    {
      onRequest,
      schema: {
        tags,
        summary: 'Who changed the site configuration when, newest first',
        querystring: historyQuery,
        response: { 200: siteConfigHistorySchema },
      },
    },
    (request) => historyOf(siteConfig).list({ first: request.query.first, before: request.query.after }),
  );

  server.get(
    '/.api/site-config/history/:version',
    {
      onRequest,
      schema: {
        tags,
        summary: 'A version of the site configuration, with hidden secrets',
        params: z.object({ version: versionNumber }),
        response: { 200: siteConfigVersionTextSchema },
      },
    },
    (request) => historyOf(siteConfig).read(request.params.version),
  );

  server.get(
    '/.api/site-config/diff',
    {
      onRequest,
      schema: {
        tags,
        summary: 'What differs between two versions of the site configuration',
        querystring: z.object({ from: versionNumber, to: versionNumber }),
        response: { 200: siteConfigDiffSchema },
      },
    },
    (request) => historyOf(siteConfig).diff(request.query.from, request.query.to),
  );
}

function changingRoutes(server: HttpServer, { siteConfig, accounts }: SiteConfigRoutesOptions): void {
  const onRequest = accounts.authorizeSiteAdmin;
  const response = { 200: siteConfigSavedSchema };

  server.put(
    '/.api/site-config',
    {
      onRequest,
      bodyLimit: maxSaveSiteConfigBytes,
      schema: { tags, summary: 'Save the site configuration', body: saveSiteConfigSchema, response },
    },
    async (request) => {
      const { userId, name } = principalOf(request);
      const { baseVersion, text } = request.body;
      const saved = await historyOf(siteConfig).save(userId, baseVersion, text);
      request.log.info({ version: saved.latest.version, user: name }, 'the site configuration was saved');
      return saved;
    },
  );

  server.put(
    '/.api/site-config/keys/:key',
    {
      onRequest,
      schema: {
        tags,
        summary: 'Set one key of the site configuration',
        params: z.object({ key: siteConfigKeySchema }),
        body: setSiteConfigKeySchema,
        response,
      },
    },
    async (request) => {
      const { userId, name } = principalOf(request);
      const { key } = request.params;
      const saved = await historyOf(siteConfig).set(userId, key, request.body.value);
      request.log.info(
        { version: saved.latest.version, key, user: name },
        'a key of the site configuration was set',
      );
      return saved;
    },
  );

  server.delete(
    '/.api/site-config/keys/:key',
    {
      onRequest,
      schema: {
        tags,
        summary: 'Take one key out of the site configuration, so that its default applies',
        params: z.object({ key: siteConfigKeySchema }),
        response,
      },
    },
    async (request) => {
      const { userId, name } = principalOf(request);
      const { key } = request.params;
      const saved = await historyOf(siteConfig).set(userId, key, undefined);
      request.log.info(
        { version: saved.latest.version, key, user: name },
        'a key of the site configuration was taken out',
      );
      return saved;
    },
  );

  server.post(
    '/.api/site-config/rollback',
    {
      onRequest,
      schema: {
        tags,
        summary: 'Bring back an earlier version of the site configuration, its secrets included',
        body: rollBackSiteConfigSchema,
        response,
      },
    },
    async (request) => {
      const { userId, name } = principalOf(request);
      const { version } = request.body;
      const saved = await historyOf(siteConfig).rollBack(userId, version);
      request.log.info(
        { version: saved.latest.version, restoredVersion: version, user: name },
        'the site configuration was rolled back',
      );
      return saved;
    },
  );
}

/** @throws ApiError 409 `site_config_is_a_file` */
function historyOf({ history }: SiteConfig): SiteConfigHistory {
  if (history) return history;
  throw new ApiError(
    409,
    'site_config_is_a_file',
    'The site configuration is a file of the operator, which KILN_SITE_CONFIG_FILE names',
    'Edit that file, at the place where it comes from; its history is there too. Changes apply without a restart.',
  );
}

const executorTokenSchema = z
  .object({ accessToken: z.string(), externalURL: z.string().nullable() })
  .meta({ id: 'ExecutorToken' });

/** What an operator needs to connect an executor. */
function executorTokenRoute(server: HttpServer, { siteConfig, accounts }: SiteConfigRoutesOptions): void {
  server.get(
    '/.api/site-config/executor-token',
    {
      onRequest: accounts.authorizeSiteAdmin,
      schema: {
        tags,
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
          'Set "executors.accessToken" (at least 20 characters): openssl rand -hex 32 | kiln config set executors.accessToken',
        );
      }
      request.log.info('the shared secret of executors was shown');
      return { accessToken, externalURL: externalURL ?? null };
    },
  );
}
