import { describe, expect, test } from 'vitest';
import { parseListenAddress, urlOf } from './listen-address.ts';

describe('parseListenAddress', () => {
  test.each([
    ['127.0.0.1:3080', { host: '127.0.0.1', port: 3080 }, 'http://127.0.0.1:3080'],
    ['[::1]:3080', { host: '::1', port: 3080 }, 'http://[::1]:3080'],
    ['localhost:0', { host: 'localhost', port: 0 }, 'http://localhost:0'],
    [':3080', { host: '::', port: 3080 }, 'http://127.0.0.1:3080'],
    ['0.0.0.0:80', { host: '0.0.0.0', port: 80 }, 'http://127.0.0.1:80'],
    ['kiln.example.com:65535', { host: 'kiln.example.com', port: 65535 }, 'http://kiln.example.com:65535'],
  ])('%s', (text, address, url) => {
    expect(parseListenAddress(text)).toEqual(address);
    expect(urlOf(address)).toBe(url);
  });

  test.each([
    '',
    '3080',
    '127.0.0.1',
    '::1:3080',
    '[127.0.0.1]:1',
    'a:65536',
    'a:-1',
    'a:1 ',
    'http://a:1',
    '[::1:1',
  ])('refuses %j', (text) => {
    expect(() => parseListenAddress(text)).toThrow(/is not an address to listen on such as/);
  });
});
