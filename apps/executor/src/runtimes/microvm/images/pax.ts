import { ImageError } from './image-error.ts';

/** What a pax header says about the entry after it. */
export interface Pax {
  path?: string;
  linkPath?: string;
  size?: number;
  uid?: number;
  gid?: number;
  mtime?: number;
  xattrs: ReadonlyMap<string, Buffer>;
}

const xattrPrefix = 'SCHILY.xattr.';

/**
 * Reads records of the form `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record.
 * @throws ImageError
 */
export function parsePax(bytes: Buffer): Pax {
  const xattrs = new Map<string, Buffer>();
  const pax: Pax = { xattrs };
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at);
    const digits = space < 0 ? '' : bytes.toString('latin1', at, space);
    const end = at + Number(digits);
    if (!/^[1-9]\d{0,8}$/.test(digits) || end > bytes.length || bytes[end - 1] !== 0x0a || end <= space)
      throw damaged();
    const equals = bytes.indexOf(0x3d, space);
    if (equals < 0 || equals >= end) throw damaged();
    const key = bytes.toString('latin1', space + 1, equals);
    const value = bytes.subarray(equals + 1, end - 1);
    apply(pax, xattrs, key, value);
    at = end;
  }
  return pax;
}

function apply(pax: Pax, xattrs: Map<string, Buffer>, key: string, value: Buffer): void {
  const text = (): string => {
    if (value.includes(0)) throw new ImageError('the archive has a name with a zero byte in it');
    return value.toString('latin1');
  };
  switch (key) {
    case 'path':
      pax.path = text();
      return;
    case 'linkpath':
      pax.linkPath = text();
      return;
    case 'size':
    case 'uid':
    case 'gid': {
      const number = Number(/^\d+$/.test(text()) ? text() : Number.NaN);
      if (!Number.isSafeInteger(number))
        throw new ImageError(`the archive has an entry with an absurd ${key}`);
      pax[key] = number;
      return;
    }
    case 'mtime': {
      const seconds = /^-?\d+(\.\d*)?$/.test(text()) ? Math.floor(Number(text())) : Number.NaN;
      if (!Number.isSafeInteger(seconds))
        throw new ImageError('the archive has an entry with an absurd mtime');
      pax.mtime = Math.max(0, seconds);
      return;
    }
    default:
      if (key.startsWith('GNU.sparse.'))
        throw new ImageError('the archive has a sparse file, which images do not have');
      if (key.startsWith(xattrPrefix)) xattrs.set(key.slice(xattrPrefix.length), Buffer.from(value));
  }
}

function damaged(): ImageError {
  return new ImageError('the archive is damaged: a pax header cannot be read');
}
