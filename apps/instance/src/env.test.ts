import { describe, expect, test } from 'vitest';
import { misspeltSettings, readInstanceSettings, SettingsError } from './env.ts';

describe('readInstanceSettings', () => {
  test('has defaults, and takes an empty variable for one that is not set', () => {
    expect(readInstanceSettings({ KILN_LISTEN: '', KILN_DATABASE_URL: ' ', PATH: '/bin' })).toEqual({
      KILN_DATA_DIR: './.kiln',
      KILN_LISTEN: { host: '127.0.0.1', port: 3080 },
      KILN_LOG_LEVEL: 'info',
      KILN_SHUTDOWN_SECONDS: 20,
    });
  });

  test('reads every variable', () => {
    expect(
      readInstanceSettings({
        KILN_DATA_DIR: '/var/lib/kiln',
        KILN_LISTEN: '[::1]:80',
        KILN_DATABASE_URL: 'postgres://u:p@h/d',
        KILN_SECRET_KEY_FILE: '/etc/kiln.key',
        KILN_SITE_CONFIG_FILE: '/etc/kiln.jsonc',
        KILN_TRUST_PROXY: '10.0.0.0/8, loopback,fd00::/8',
        KILN_METRICS_LISTEN: ':9090',
        KILN_LOG_LEVEL: 'debug',
        KILN_SHUTDOWN_SECONDS: '5',
      }),
    ).toEqual({
      KILN_DATA_DIR: '/var/lib/kiln',
      KILN_LISTEN: { host: '::1', port: 80 },
      KILN_DATABASE_URL: 'postgres://u:p@h/d',
      KILN_SECRET_KEY_FILE: '/etc/kiln.key',
      KILN_SITE_CONFIG_FILE: '/etc/kiln.jsonc',
      KILN_TRUST_PROXY: ['10.0.0.0/8', 'loopback', 'fd00::/8'],
      KILN_METRICS_LISTEN: { host: '::', port: 9090 },
      KILN_LOG_LEVEL: 'debug',
      KILN_SHUTDOWN_SECONDS: 5,
    });
    expect(readInstanceSettings({ KILN_TRUST_PROXY: '2' }).KILN_TRUST_PROXY).toBe(2);
  });

  test('names every mistake, and never shows the password of a database address', () => {
    const read = () =>
      readInstanceSettings({
        KILN_LISTEN: '3080',
        KILN_DATABASE_URL: 'mysql://u:hunter2@h/d',
        KILN_TRUST_PROXY: 'true',
        KILN_SHUTDOWN_SECONDS: '0',
        KILN_LOG_LEVEL: 'loud',
      });
    expect(read).toThrow(SettingsError);
    try {
      read();
    } catch (error) {
      const { message } = error as SettingsError;
      expect(message.split('\n')).toEqual([
        expect.stringMatching(/^KILN_LISTEN: "3080" is not an address to listen on/),
        'KILN_DATABASE_URL: must begin with postgres:// or postgresql://',
        expect.stringMatching(/^KILN_TRUST_PROXY: .*would let everybody claim any address/),
        expect.stringMatching(/^KILN_LOG_LEVEL: /),
        'KILN_SHUTDOWN_SECONDS: must be a whole number of seconds from 1 to 600',
      ]);
      expect(message).not.toContain('hunter2');
    }
  });
});

test('slips of the keyboard are found, and variables of others left alone', () => {
  const mistaken = { KILN_DATABSE_URL: 'postgres://u:hunter2@h/d', KILN_DATADIR: '/d' };
  const others = {
    KILN_URL: 'u',
    KILN_TOKEN: 't',
    KILN_PORT: 'tcp://10.0.0.1:80',
    KILN_SERVICE_HOST: 'h',
    PATH: '/bin',
  };
  expect(misspeltSettings({ ...mistaken, ...others, KILN_LISTEN: ':80' })).toEqual([
    'KILN_DATABSE_URL is no setting; did you mean KILN_DATABASE_URL?',
    'KILN_DATADIR is no setting; did you mean KILN_DATA_DIR?',
  ]);
});
