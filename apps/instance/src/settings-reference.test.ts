import { expect, test } from 'vitest';
import { siteConfigJsonSchema } from './features/site-config/index.ts';
import { renderSettingsReference } from './settings-reference.ts';

test('docs/reference/instance-settings.md is current', async () => {
  await expect(renderSettingsReference()).toMatchFileSnapshot('../../../docs/reference/instance-settings.md');
});

test('docs/reference/site-config.schema.json is current', async () => {
  await expect(`${JSON.stringify(siteConfigJsonSchema(), undefined, 2)}\n`).toMatchFileSnapshot(
    '../../../docs/reference/site-config.schema.json',
  );
});
