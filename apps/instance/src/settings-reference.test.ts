import { expect, test } from 'vitest';
import { renderSettingsReference } from './settings-reference.ts';

test('docs/reference/instance-settings.md is current', async () => {
  await expect(renderSettingsReference()).toMatchFileSnapshot('../../../docs/reference/instance-settings.md');
});
