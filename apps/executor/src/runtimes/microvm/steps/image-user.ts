import { SandboxError } from '../../runtime.ts';
import type { ImageFacts } from './bundle.ts';

/**
 * Whom an image's steps run as.
 * @param user as images say it: empty (root), or a user and perhaps `:` and a group, each a name or a number
 * @param files the image's `/etc/passwd` and `/etc/group`, empty where it has none
 * @throws SandboxError for a name that the image does not know
 */
export function imageUser(
  image: string,
  user: string,
  files: { passwd: string; group: string },
): ImageFacts['user'] {
  const [who = '', group] = user.split(':');
  if (who === '') return { uid: 0, gid: 0, additionalGids: [] };
  const users = files.passwd.split('\n').map((line) => line.split(':'));
  const groups = files.group.split('\n').map((line) => line.split(':'));
  const entry = users.find(([name, , uid]) => (isNumber(who) ? uid === who : name === who));
  if (entry === undefined && !isNumber(who)) throw unknown(image, 'user', who);
  const uid = Number(entry?.[2] ?? who);
  if (group === undefined || group === '') {
    const name = entry?.[0];
    const additional = groups.filter(
      ([, , , members]) => name !== undefined && members?.split(',').includes(name),
    );
    return { uid, gid: Number(entry?.[3] ?? 0), additionalGids: additional.map(([, , gid]) => Number(gid)) };
  }
  const groupEntry = groups.find(([name]) => name === group);
  if (groupEntry === undefined && !isNumber(group)) throw unknown(image, 'group', group);
  return { uid, gid: Number(groupEntry?.[2] ?? group), additionalGids: [] };
}

function isNumber(text: string): boolean {
  return /^\d{1,9}$/.test(text);
}

function unknown(image: string, what: string, name: string): SandboxError {
  return new SandboxError(
    `image ${image} is to be run as ${what} ${JSON.stringify(name)}, which it does not have`,
    {
      infrastructure: false,
    },
  );
}
