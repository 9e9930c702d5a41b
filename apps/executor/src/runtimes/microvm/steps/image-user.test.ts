import { expect, test } from 'vitest';
import { imageUser } from './image-user.ts';

const files = {
  passwd: 'root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n',
  group: 'root:x:0:\napp:x:1001:\nextra:x:50:other,app\n',
};

test.each([
  ['', { uid: 0, gid: 0, additionalGids: [] }],
  ['app', { uid: 1000, gid: 1001, additionalGids: [50] }],
  ['1000', { uid: 1000, gid: 1001, additionalGids: [50] }],
  ['4242', { uid: 4242, gid: 0, additionalGids: [] }],
  ['app:extra', { uid: 1000, gid: 50, additionalGids: [] }],
  ['7:8', { uid: 7, gid: 8, additionalGids: [] }],
])('user %j', (user, expected) => {
  expect(imageUser('i', user, files)).toEqual(expected);
});

test('unknown names are told', () => {
  expect(() => imageUser('i:1', 'nobody', files)).toThrow('image i:1 is to be run as user "nobody"');
  expect(() => imageUser('i:1', 'app:none', files)).toThrow('as group "none"');
});
