import type { TarEntry } from './tar-reader.ts';

const block = 512;
const kinds = { file: '0', hardlink: '1', symlink: '2', directory: '5', fifo: '6' } as const;

export type WrittenEntry = Omit<TarEntry, 'offset' | 'type'> & { type: keyof typeof kinds };

/**
 * The header of an entry, with what precedes it where the old form cannot say it. Content and {@link tarPadding} come
 * after. Long link targets are written in GNU's way: mksquashfs takes leading slashes and dots off those in pax records.
 */
export function tarHeader(entry: WrittenEntry): Buffer {
  const pax: Buffer[] = [];
  const record = (key: string, value: Buffer): void => void pax.push(paxRecord(key, value));
  const path = entry.type === 'directory' ? `${entry.path}/` : entry.path;
  if (path.length > 100) record('path', Buffer.from(path, 'latin1'));
  if (entry.size > maxOctal(12)) record('size', Buffer.from(String(entry.size)));
  if (entry.uid > maxOctal(8)) record('uid', Buffer.from(String(entry.uid)));
  if (entry.gid > maxOctal(8)) record('gid', Buffer.from(String(entry.gid)));
  for (const [name, value] of entry.xattrs) record(`SCHILY.xattr.${name}`, value);
  return Buffer.concat([
    ...(entry.linkPath.length > 100 ? extension('K', Buffer.from(`${entry.linkPath}\0`, 'latin1')) : []),
    ...(pax.length > 0 ? extension('x', Buffer.concat(pax)) : []),
    header({ ...entry, path, kind: kinds[entry.type] }),
  ]);
}

function extension(kind: string, content: Buffer): Buffer[] {
  const owner = { mode: 0o644, uid: 0, gid: 0, mtime: 0 };
  return [
    header({ ...owner, path: '././@LongLink', linkPath: '', size: content.length, kind }),
    content,
    tarPadding(content.length),
  ];
}

/** What follows a content of so many bytes. */
export function tarPadding(size: number): Buffer {
  return Buffer.alloc((block - (size % block)) % block);
}

/** What follows the last entry. */
export const tarEnd: Buffer = Buffer.alloc(2 * block);

function header(
  fields: Pick<TarEntry, 'path' | 'linkPath' | 'size' | 'mode' | 'uid' | 'gid' | 'mtime'> & { kind: string },
): Buffer {
  const bytes = Buffer.alloc(block);
  bytes.write(fields.path.slice(0, 100), 0, 'latin1');
  bytes.write(octal(fields.mode, 8), 100, 'latin1');
  bytes.write(octal(fields.uid, 8), 108, 'latin1');
  bytes.write(octal(fields.gid, 8), 116, 'latin1');
  bytes.write(octal(fields.size, 12), 124, 'latin1');
  bytes.write(octal(fields.mtime, 12), 136, 'latin1');
  bytes.write('        ', 148, 'latin1');
  bytes.write(fields.kind, 156, 'latin1');
  bytes.write(fields.linkPath.slice(0, 100), 157, 'latin1');
  bytes.write('ustar\0' + '00', 257, 'latin1');
  let sum = 0;
  for (const byte of bytes) sum += byte;
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return bytes;
}

/** What does not fit stands in a pax record, which counts instead. */
function octal(value: number, length: number): string {
  return `${(value > maxOctal(length) ? 0 : value).toString(8).padStart(length - 1, '0')}\0`;
}

function maxOctal(length: number): number {
  return 8 ** (length - 1) - 1;
}

function paxRecord(key: string, value: Buffer): Buffer {
  const rest = 1 + Buffer.byteLength(key, 'latin1') + 1 + value.length + 1;
  let length = rest + String(rest).length;
  // One more digit may be needed for the digits themselves.
  if (String(length).length > String(rest).length) length = rest + String(length).length;
  return Buffer.concat([Buffer.from(`${length} ${key}=`, 'latin1'), value, Buffer.from('\n')]);
}
