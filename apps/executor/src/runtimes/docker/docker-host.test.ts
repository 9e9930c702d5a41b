import { expect, test } from 'vitest';
import { dockerSocketPath } from './docker-host.ts';

test('reads DOCKER_HOST', () => {
  expect(dockerSocketPath(undefined)).toBe('/var/run/docker.sock');
  expect(dockerSocketPath('')).toBe('/var/run/docker.sock');
  expect(dockerSocketPath('unix:///run/user/1000/docker.sock')).toBe('/run/user/1000/docker.sock');
});

test.each(['tcp://10.0.0.1:2375', 'ssh://user:password@host', 'unix://relative', '/run/docker.sock'])(
  'refuses %s with the accepted form',
  (text) => {
    expect(() => dockerSocketPath(text)).toThrow(/unix:\/\/\/path.*it is/);
    expect(() => dockerSocketPath(text)).not.toThrow(/password/);
  },
);
