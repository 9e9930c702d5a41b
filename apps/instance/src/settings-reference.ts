import { z } from 'zod';
import { instanceSettings } from './env.ts';
import { siteConfigSchema } from './features/site-config/index.ts';

/** docs/reference/instance-settings.md, from the definitions of the settings. */
export function renderSettingsReference(): string {
  return `# Settings of the instance

<!-- Made from apps/instance/src/env.ts and features/site-config/schema.ts. After a change there run
     \`sh tools/node/run --exec vitest run --project unit apps/instance/src/settings-reference.test.ts -u\`. -->

## Environment variables

Read once, at the start. A variable that is set but empty counts as not set; a value that cannot be used stops the start.

${Object.entries(instanceSettings.shape)
  .map(([name, schema]) => renderVariable(name, schema))
  .join('\n\n')}

## Site configuration

JSON in which comments and trailing commas are allowed, in the database or in the file that \`KILN_SITE_CONFIG_FILE\` names
([site-configuration.md](../site-configuration.md)). Changes apply without a restart. Unknown keys are mistakes. As JSON Schema:
[site-config.schema.json](site-config.schema.json).

${Object.entries(siteConfigSchema.shape)
  .map(([key, schema]) => renderKey(key, schema))
  .join('\n\n')}
`;
}

function renderVariable(name: string, schema: z.ZodType): string {
  const meta = schema.meta() ?? {};
  return `### \`${name}\`

${meta['description']}

- Value: ${meta['range']}
- Default: ${meta['shown'] ?? `\`${String(schema.parse(undefined))}\``}`;
}

function renderKey(key: string, schema: z.ZodType): string {
  const json = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  return `### \`"${key}"\`

${schema.meta()?.['description']}

- Type: ${typeName(json)}
- Default: ${json.default === undefined ? 'not set' : `\`${JSON.stringify(json.default)}\``}`;
}

function typeName(json: z.core.JSONSchema.JSONSchema): string {
  if (json.anyOf)
    return json.anyOf.map((option) => typeName(option as z.core.JSONSchema.JSONSchema)).join(' or ');
  if (json.type === 'array') return 'array of strings';
  if (json.type === 'integer') return 'whole number';
  return String(json.type);
}
