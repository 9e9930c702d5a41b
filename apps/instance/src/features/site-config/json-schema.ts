import { z } from 'zod';
import { siteConfigSchema } from './schema.ts';

/** The JSON Schema (draft 2020-12) of the site configuration, for editors and configuration managements. */
export function siteConfigJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(siteConfigSchema, { io: 'input' });
  return { title: 'Site configuration of Kiln', ...schema };
}
