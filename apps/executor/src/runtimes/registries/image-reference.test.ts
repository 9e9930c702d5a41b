import { expect, test } from 'vitest';
import { parseImageReference } from './image-reference.ts';

const digest = `sha256:${'0'.repeat(64)}`;

test.each([
  ['alpine', { registry: 'docker.io', familiarName: 'alpine', tag: 'latest' }],
  ['library/alpine:3', { registry: 'docker.io', familiarName: 'alpine', tag: '3' }],
  ['docker.io/library/alpine', { registry: 'docker.io', familiarName: 'alpine', tag: 'latest' }],
  ['acme/tool:1.2', { registry: 'docker.io', familiarName: 'acme/tool', tag: '1.2' }],
  ['ghcr.io/acme/tool', { registry: 'ghcr.io', familiarName: 'ghcr.io/acme/tool', tag: 'latest' }],
  ['localhost/tool', { registry: 'localhost', familiarName: 'localhost/tool', tag: 'latest' }],
  ['localhost:5000/a/b/c:x', { registry: 'localhost:5000', familiarName: 'localhost:5000/a/b/c', tag: 'x' }],
  ['[::1]:5000/a', { registry: '[::1]:5000', familiarName: '[::1]:5000/a', tag: 'latest' }],
  [`alpine@${digest}`, { registry: 'docker.io', familiarName: 'alpine', digest }],
  [`alpine:3@${digest}`, { registry: 'docker.io', familiarName: 'alpine', tag: '3', digest }],
])('reads %s', (text, expected) => {
  expect(parseImageReference(text)).toMatchObject(expected);
});

test.each([
  ['alpine', 'library/alpine'],
  ['docker.io/acme/tool', 'acme/tool'],
  ['localhost:5000/tool', 'tool'],
])('knows the repository of %s', (text, repository) => {
  expect(parseImageReference(text)).toMatchObject({ repository });
});

test('has no tag beside a digest alone', () => {
  expect(parseImageReference(`alpine@${digest}`)).not.toHaveProperty('tag');
});

test.each([
  '',
  'Alpine',
  'a//b',
  'a b',
  '-x',
  'alpine:',
  'alpine@sha256:12',
  '../x',
  'http://ghcr.io/a',
  'a?b=c',
])('refuses %j', (text) => {
  expect(() => parseImageReference(text)).toThrow('is not an image reference');
});
