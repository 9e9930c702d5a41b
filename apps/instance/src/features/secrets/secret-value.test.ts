import { describe, expect, test } from 'vitest';
import { checkSecretValue } from './secret-value.ts';

const auths = (text: string) =>
  JSON.stringify({ auths: { 'r.example': { auth: Buffer.from(text).toString('base64') } } });

describe('checkSecretValue', () => {
  test.each([
    ['several lines', '-----BEGIN KEY-----\nabc\n-----END KEY-----\n'],
    ['what is no ASCII', 'pässwörd'],
    ['64 KiB', 'x'.repeat(65_536)],
  ])('takes %s', (_, value) => {
    expect(checkSecretValue('TOKEN', value)).toEqual([]);
  });

  test('remarks on a value that can hardly be masked', () => {
    expect(checkSecretValue('PIN', ' 12345\n')).toEqual([expect.stringContaining('fewer than 6 bytes')]);
    expect(checkSecretValue('PIN', 'äöü')).toEqual([]);
  });

  test.each([
    ['', 'is empty'],
    [' \n', 'is empty'],
    ['SECRET\0', 'holds a NUL'],
    ['SECRET\ud800', 'is not valid Unicode'],
    ['SECRETS!'.repeat(8193), 'has 65544 bytes; at most 65536'],
    ['ä'.repeat(32_769), 'has 65538 bytes'],
  ])('refuses %.20j without quoting it', (value, message) => {
    const check = () => checkSecretValue('TOKEN', value);
    expect(check).toThrow(`The value of TOKEN ${message}`);
    expect(check).not.toThrow('SECRET');
  });

  test('takes registry credentials only in a form that executors can use', () => {
    expect(checkSecretValue('DOCKER_AUTH_CONFIG', auths('user:password'))).toEqual([]);
    expect(checkSecretValue('OTHER', 'no JSON')).toEqual([]);
    for (const [value, message] of [
      ['SECRET', 'is not JSON'],
      [auths('SECRET'), 'auths["r.example"]: decoded "auth" is not of the form user:password'],
      [auths('user:SECRET\n'), 'decoded "auth" ends in a newline'],
    ] as const) {
      const check = () => checkSecretValue('DOCKER_AUTH_CONFIG', value);
      expect(check).toThrow(message);
      expect(check).not.toThrow('SECRET');
    }
  });
});
