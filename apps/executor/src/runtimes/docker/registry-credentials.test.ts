import { expect, test } from 'vitest';
import { credentialsFor } from './registry-credentials.ts';

const auth = (text: string): { auth: string } => ({ auth: Buffer.from(text).toString('base64') });

test('takes the entry of exactly that host, however it is written', () => {
  const config = {
    auths: { 'https://ghcr.io/v2/': auth('user:pass:word?>'), 'ghcr.io.evil.example': auth('a:b') },
  };
  const { header = '' } = credentialsFor('ghcr.io', config);
  expect(header).toMatch(/^[A-Za-z0-9_-]+=*$/);
  expect(header.length % 4).toBe(0);
  expect(JSON.parse(Buffer.from(header, 'base64url').toString())).toEqual({
    username: 'user',
    password: 'pass:word?>',
    serveraddress: 'ghcr.io',
  });
  expect(credentialsFor('io', config).header).toBeUndefined();
});

test('knows the names of Docker Hub', () => {
  for (const name of ['https://index.docker.io/v1/', 'docker.io', 'registry-1.docker.io'])
    expect(credentialsFor('docker.io', { auths: { [name]: auth('u:p') } }).header).toBeDefined();
});

test('tells credentials apart without showing them', () => {
  const one = credentialsFor('a.example', { auths: { 'a.example': auth('u:secret') } });
  const other = credentialsFor('a.example', { auths: { 'a.example': auth('u:other') } });
  expect(one.fingerprint).not.toBe(other.fingerprint);
  expect(one.fingerprint).not.toContain('secret');
  expect(credentialsFor('a.example', {}).fingerprint).toBe('anonymous');
});
