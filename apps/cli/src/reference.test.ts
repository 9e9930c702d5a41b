import { expect, it } from 'vitest';
import { createProgram } from './program.ts';
import { renderReference } from './reference.ts';
import { quietSetup } from './testing/quiet-setup.ts';

it('docs/cli.md is current', async () => {
  await expect(renderReference(createProgram(quietSetup()))).toMatchFileSnapshot('../../../docs/cli.md');
});
