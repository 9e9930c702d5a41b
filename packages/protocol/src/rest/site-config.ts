import { z } from 'zod';

/** Nobody writes a configuration of this size by hand. */
const maxSiteConfigCharacters = 256 * 1024;
/** JSON may need six bytes for one character of the text. */
export const maxSaveSiteConfigBytes = 6 * maxSiteConfigCharacters + 1024;

const version = z.int().meta({ description: '1, and one more with each change' });

export const siteConfigVersionSchema = z
  .object({
    version,
    cause: z.enum(['first start', 'file taken over', 'edit', 'rollback']),
    restoredVersion: z.int().nullable().meta({ description: 'Which version a rollback brought back' }),
    user: z.string().nullable().meta({
      description: 'Who made it; null: the instance itself, or a user who was deleted since',
    }),
    createdAt: z.string().meta({ format: 'date-time' }),
  })
  .meta({ id: 'SiteConfigVersion' });
export type SiteConfigVersion = z.infer<typeof siteConfigVersionSchema>;

const hiddenText = z.string().meta({
  description:
    'JSON with comments. In place of each secret stands a mark such as "hidden secret 1f0c93ab", which may be sent back',
});

/** Body of `GET /.api/site-config`. */
export const siteConfigViewSchema = z
  .object({
    text: hiddenText,
    file: z.string().nullable().meta({
      description: 'The file of the operator that it is read from; the API cannot change it then',
    }),
    latest: siteConfigVersionSchema.nullable().meta({ description: 'null: it is a file' }),
  })
  .meta({ id: 'SiteConfig' });
export type SiteConfigView = z.infer<typeof siteConfigViewSchema>;

export const siteConfigVersionTextSchema = siteConfigVersionSchema
  .extend({ text: hiddenText })
  .meta({ id: 'SiteConfigVersionText' });
export type SiteConfigVersionText = z.infer<typeof siteConfigVersionTextSchema>;

/** Body of `PUT /.api/site-config`. */
export const saveSiteConfigSchema = z
  .strictObject({
    text: z.string().max(maxSiteConfigCharacters).meta({
      description: 'JSON with comments; marks of hidden secrets of the base version stand for these secrets',
    }),
    baseVersion: z.int().meta({
      description: 'The version that was edited. Refused when it is not the latest any more',
    }),
  })
  .meta({ id: 'SaveSiteConfig' });

/** Body of `PUT /.api/site-config/keys/:key`. */
export const setSiteConfigKeySchema = z
  .strictObject({
    value: z
      .union([z.string(), z.number(), z.boolean(), z.array(z.string())])
      .meta({ description: 'As in the configuration' }),
  })
  .meta({ id: 'SetSiteConfigKey' });

/** Body of `POST /.api/site-config/rollback`. */
export const rollBackSiteConfigSchema = z
  .strictObject({ version: z.int().meta({ description: 'The version that comes back, as a new one' }) })
  .meta({ id: 'RollBackSiteConfig' });

export const siteConfigSavedSchema = z
  .object({
    latest: siteConfigVersionSchema,
    changed: z.boolean().meta({ description: 'false: it said so already, and there is no new version' }),
  })
  .meta({ id: 'SiteConfigSaved' });
export type SiteConfigSaved = z.infer<typeof siteConfigSavedSchema>;

export const siteConfigHistorySchema = z.object({
  versions: z.array(siteConfigVersionSchema),
  nextCursor: z
    .string()
    .nullable()
    .meta({ description: 'Pass as `after` for the next page; null at the end' }),
});
export type SiteConfigHistoryPage = z.infer<typeof siteConfigHistorySchema>;

export const siteConfigDiffSchema = z
  .object({
    from: version,
    to: version,
    diff: z.string().meta({ description: 'Unified, of the texts with hidden secrets; empty: no difference' }),
  })
  .meta({ id: 'SiteConfigDiff' });
export type SiteConfigDiff = z.infer<typeof siteConfigDiffSchema>;

export const siteConfigKeySchema = z.string().min(1).max(255);
