import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { readSettings, renderSettingsReference, showSettings } from './index.ts';

test('the reference documentation is current', () => {
  const path = new URL('../../../../docs/reference/executor-settings.md', import.meta.url);
  const hint = 'write it again: bin/executor config reference > docs/reference/executor-settings.md';
  expect(readFileSync(path, 'utf8'), hint).toBe(renderSettingsReference());
});

test('every setting is shown with its source, and no secret', () => {
  const auth = JSON.stringify({ auths: { r: { auth: Buffer.from('user:topsecret').toString('base64') } } });
  const read = readSettings(
    {
      EXECUTOR_FRONTEND_URL: 'https://kiln.example.com',
      EXECUTOR_FRONTEND_PASSWORD: 'hunter2hunter2',
      EXECUTOR_QUEUE_NAME: 'jobs',
      EXECUTOR_USE_FIRECRACKER: 'false',
      EXECUTOR_DOCKER_AUTH_CONFIG: auth,
    },
    {
      platform: 'linux',
      onKubernetes: false,
      isRoot: false,
      homeDirectory: '/home/u',
      stateHome: undefined,
      temporaryDirectory: '/tmp',
      readFile: () => '',
      isFile: () => true,
    },
  );
  const shown = showSettings(read);
  const byName = Object.fromEntries(shown.map((setting) => [setting.name, setting]));
  expect(byName['EXECUTOR_FRONTEND_PASSWORD']).toEqual({
    name: 'EXECUTOR_FRONTEND_PASSWORD',
    value: '******',
    source: 'EXECUTOR_FRONTEND_PASSWORD',
  });
  expect(byName['EXECUTOR_DATA_DIR']).toMatchObject({
    value: '/home/u/.local/state/kiln-executor',
    source: 'default',
  });
  expect(byName['NODE_EXPORTER_URL']).toMatchObject({ value: null, source: 'not set' });
  expect(JSON.stringify(shown)).not.toMatch(/hunter2|topsecret|dXNlcjp0b3BzZWNyZXQ/);
});
