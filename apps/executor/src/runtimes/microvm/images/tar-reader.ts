import { formatByteSize } from '@kiln/protocol';
import { byteSource } from './byte-source.ts';
import { ImageError } from './image-error.ts';
import { parsePax } from './pax.ts';

export type TarType = 'file' | 'directory' | 'symlink' | 'hardlink' | 'fifo' | 'device';

/** Names are bytes, not text: each character of these strings is one byte (latin1). */
export interface TarEntry {
  type: TarType;
  path: string;
  /** Of links: as it is written. */
  linkPath: string;
  /** Bytes of content that follow; 0 for what has none. */
  size: number;
  /** Permission bits with setuid, setgid and sticky. */
  mode: number;
  uid: number;
  gid: number;
  /** Whole seconds since 1970. */
  mtime: number;
  xattrs: ReadonlyMap<string, Buffer>;
  /** Where the content begins in the archive. */
  offset: number;
}

export interface TarReader {
  /** The next entry; what is left of the content of the one before is passed over. Undefined at the end of the archive. */
  next(): Promise<TarEntry | undefined>;
  /** The content of the entry that `next` gave last; once. */
  content(): AsyncGenerator<Buffer, void>;
  /** Lets go of the source before its end. */
  end(): Promise<void>;
}

const block = 512;
/** GNU's kinds of what precedes an entry: a long name, a long link target. */
const longName = 'L';
const longLink = 'K';

/**
 * Reads a tar archive (ustar, pax, GNU) of which nothing can be trusted: nothing is held in memory but one header.
 * @param maxHeaderBytes of what may precede an entry: pax records, long names
 * @throws ImageError when it is damaged, ends early, or holds what no image holds
 */
export function readTar(source: AsyncIterable<Buffer>, maxHeaderBytes: number): TarReader {
  const input = byteSource(source, endsEarly);
  /** Of the current entry: content, and the padding after it, not yet read. */
  let contentLeft = 0;
  let padding = 0;
  let hasEnded = false;

  async function* content(): AsyncGenerator<Buffer, void> {
    while (contentLeft > 0) {
      const part = await input.some(contentLeft);
      if (part.length === 0) throw endsEarly();
      contentLeft -= part.length;
      yield part;
    }
  }

  async function passOver(): Promise<void> {
    for await (const _ of input.run(contentLeft + padding));
    contentLeft = 0;
    padding = 0;
  }

  async function extension(size: number): Promise<Buffer> {
    if (size > maxHeaderBytes)
      throw new ImageError(
        `an entry of the archive has a header of ${formatByteSize(size)}; at most ${formatByteSize(maxHeaderBytes)} are read`,
      );
    const bytes = size === 0 ? Buffer.alloc(0) : await input.exactly(size);
    if (bytes === undefined) throw endsEarly();
    // The next read may reuse the memory below a slice.
    const copy = Buffer.from(bytes);
    padding = padded(size);
    await passOver();
    return copy;
  }

  return {
    content,
    async end() {
      await input.end();
    },
    async next() {
      await passOver();
      let pax = parsePax(Buffer.alloc(0));
      let name: string | undefined;
      let link: string | undefined;
      while (!hasEnded) {
        const header = await input.exactly(block);
        if (header === undefined || isZero(header)) {
          hasEnded = true;
          break;
        }
        checkSum(header);
        const kind = String.fromCharCode(header[156] ?? 0);
        const size = pax.size ?? readNumber(header, 124, 12, 'size');
        if (kind === 'x' || kind === 'g' || kind === longName || kind === longLink) {
          const bytes = await extension(readNumber(header, 124, 12, 'size'));
          if (kind === 'x') pax = parsePax(bytes);
          else if (kind === longName) name = untilZero(bytes);
          else if (kind === longLink) link = untilZero(bytes);
          continue;
        }
        const path = pax.path ?? name ?? ustarPath(header);
        const type = typeOf(kind, path);
        contentLeft = type === 'file' ? size : 0;
        // Some archivers give links and directories a size; nothing follows them all the same.
        padding = type === 'file' ? padded(size) : 0;
        return {
          type,
          path,
          linkPath: pax.linkPath ?? link ?? untilZero(header.subarray(157, 257)),
          size: contentLeft,
          mode: readNumber(header, 100, 8, 'mode') & 0o7777,
          uid: pax.uid ?? readNumber(header, 108, 8, 'uid'),
          gid: pax.gid ?? readNumber(header, 116, 8, 'gid'),
          mtime: pax.mtime ?? readNumber(header, 136, 12, 'mtime'),
          xattrs: pax.xattrs,
          offset: input.position,
        };
      }
      return undefined;
    },
  };
}

function typeOf(kind: string, path: string): TarType {
  switch (kind) {
    case '\0':
    case '0':
    case '7':
      // Archives from before there were types mark directories so.
      return path.endsWith('/') ? 'directory' : 'file';
    case '1':
      return 'hardlink';
    case '2':
      return 'symlink';
    case '3':
    case '4':
      return 'device';
    case '5':
      return 'directory';
    case '6':
      return 'fifo';
    default:
      throw new ImageError(
        `the archive has an entry of a kind that images do not have (${JSON.stringify(kind)}, ${JSON.stringify(path.slice(0, 200))})`,
      );
  }
}

/** GNU archives have something else where POSIX ones have the beginning of the path. */
function ustarPath(header: Buffer): string {
  const name = untilZero(header.subarray(0, 100));
  const isPosix = header.toString('latin1', 257, 263) === 'ustar\0';
  const prefix = isPosix ? untilZero(header.subarray(345, 500)) : '';
  return prefix === '' ? name : `${prefix}/${name}`;
}

/** Octal digits, or for what does not fit binary with the first bit set. Negative times (before 1970) count as 0. */
function readNumber(header: Buffer, at: number, length: number, what: string): number {
  const field = header.subarray(at, at + length);
  const first = field[0] ?? 0;
  if (first & 0x80) {
    if (first & 0x40) {
      if (what === 'mtime') return 0;
      throw new ImageError(`the archive has an entry with a negative ${what}`);
    }
    let value = first & 0x3f;
    for (const byte of field.subarray(1)) value = value * 256 + byte;
    if (!Number.isSafeInteger(value)) throw new ImageError(`the archive has an entry with an absurd ${what}`);
    return value;
  }
  const text = untilZero(field).trim();
  if (!/^[0-7]*$/.test(text))
    throw new ImageError(`the archive is damaged: ${what} of an entry is no number`);
  return text === '' ? 0 : Number.parseInt(text, 8);
}

/** Sum of all bytes of the header, those of the sum itself counted as spaces; some archivers sum signed bytes. */
function checkSum(header: Buffer): void {
  let unsigned = 0;
  let signed = 0;
  for (let at = 0; at < block; at++) {
    const byte = at >= 148 && at < 156 ? 32 : (header[at] ?? 0);
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  const written = readNumber(header, 148, 8, 'checksum');
  if (written !== unsigned && written !== signed)
    throw new ImageError('this is no tar archive, or it is damaged: a header does not match its checksum');
}

function isZero(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0);
}

function untilZero(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('latin1', 0, end < 0 ? bytes.length : end);
}

function padded(size: number): number {
  return (block - (size % block)) % block;
}

function endsEarly(): ImageError {
  return new ImageError('the archive ends in the middle of an entry');
}
