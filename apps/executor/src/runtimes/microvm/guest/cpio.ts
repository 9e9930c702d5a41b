/** What an archive holds, in the order in which it is to be unpacked: directories before what is in them. */
export type CpioEntry =
  | { path: string; type: 'directory' }
  | { path: string; type: 'file'; mode: number; bytes: Uint8Array }
  | { path: string; type: 'device'; mode: number; major: number; minor: number };

/** The archive format of initramfs ("newc"), with every owner root and every time 0: same contents, same bytes. */
export function cpioArchive(entries: readonly CpioEntry[]): Buffer {
  const parts = entries.flatMap((entry, index) => record(entry, index + 1));
  parts.push(...record({ path: 'TRAILER!!!', type: 'file', mode: 0, bytes: new Uint8Array() }, 0));
  const archive = Buffer.concat(parts);
  return Buffer.concat([archive, Buffer.alloc(-archive.length & 511)]);
}

const typeBits = { directory: 0o040000, file: 0o100000, device: 0o020000 } as const;

function record(entry: CpioEntry, inode: number): Buffer[] {
  const bytes = entry.type === 'file' ? entry.bytes : new Uint8Array();
  const name = Buffer.from(`${entry.path}\0`);
  // The trailer's mode is 0 altogether.
  const mode = inode === 0 ? 0 : typeBits[entry.type] | (entry.type === 'directory' ? 0o755 : entry.mode);
  const [major, minor] = entry.type === 'device' ? [entry.major, entry.minor] : [0, 0];
  const links = entry.type === 'directory' ? 2 : 1;
  const numbers = [inode, mode, 0, 0, links, 0, bytes.length, 0, 0, major, minor, name.length, 0];
  const header = `070701${numbers.map((number) => number.toString(16).padStart(8, '0')).join('')}`;
  const start = Buffer.concat([Buffer.from(header), name]);
  return [start, Buffer.alloc(-start.length & 3), Buffer.from(bytes), Buffer.alloc(-bytes.length & 3)];
}
