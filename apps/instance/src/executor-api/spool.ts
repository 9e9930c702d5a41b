import { randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';

/** Output up to this size stays in memory: nearly all of it, because executors send it each second. */
const memoryBytes = 1024 * 1024;
/** Read back in pieces of this size; also the largest row of the log. */
const pieceBytes = 256 * 1024;

/**
 * Holds one body's output until the whole body was read and checked: small ones in memory, large ones in an unlinked
 * file, so that a malformed or broken-off body changes nothing and a large one costs no memory. Written first, read
 * any number of times after that.
 */
export class Spool implements AsyncDisposable {
  private readonly directory: string;
  private pending: Buffer[] = [];
  private pendingBytes = 0;
  private file: FileHandle | undefined;
  private fileBytes = 0;

  /** @param directory made when it is missing; on a file system with room for the largest body */
  constructor(directory: string) {
    this.directory = directory;
  }

  get bytes(): number {
    return this.fileBytes + this.pendingBytes;
  }

  /** Keeps the buffer, so the caller must not reuse it. */
  write(bytes: Buffer): void {
    this.pending.push(bytes);
    this.pendingBytes += bytes.length;
  }

  /** Forgets what was written. */
  reset(): void {
    this.pending = [];
    this.pendingBytes = 0;
    // Writes are positioned, so old bytes of the file are simply written over.
    this.fileBytes = 0;
  }

  /** Moves what no longer belongs in memory to the file; called between chunks of the body. */
  async settle(): Promise<void> {
    if (this.pendingBytes > memoryBytes) await this.writeToFile();
  }

  /** The bytes from `start` on, in pieces of at most 256 KiB. */
  async *read(start = 0): AsyncGenerator<Buffer> {
    if (this.file && this.pendingBytes > 0) await this.writeToFile();
    if (!this.file) {
      const all = this.pending.length === 1 ? this.pending[0] : Buffer.concat(this.pending);
      if (!all) return;
      for (let at = start; at < all.length; at += pieceBytes) yield all.subarray(at, at + pieceBytes);
      return;
    }
    for (let at = start; at < this.fileBytes; ) {
      const piece = Buffer.allocUnsafe(Math.min(pieceBytes, this.fileBytes - at));
      const { bytesRead } = await this.file.read(piece, 0, piece.length, at);
      if (bytesRead === 0) throw new Error('A spooled log body is shorter than what was written to it');
      at += bytesRead;
      yield piece.subarray(0, bytesRead);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.pending = [];
    await this.file?.close();
  }

  private async writeToFile(): Promise<void> {
    this.file ??= await openUnlinked(this.directory);
    const buffers = this.pending;
    this.pending = [];
    let at = this.fileBytes;
    for (const buffer of buffers) {
      for (let written = 0; written < buffer.length; ) {
        const { bytesWritten } = await this.file.write(buffer, written, buffer.length - written, at);
        written += bytesWritten;
        at += bytesWritten;
      }
    }
    this.fileBytes = at;
    this.pendingBytes = 0;
  }
}

/** A file that nobody else can open and that is gone when it is closed, whatever happens to this process. */
async function openUnlinked(directory: string): Promise<FileHandle> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, `log-body-${randomUUID()}`);
  const file = await open(path, 'wx+', 0o600);
  await unlink(path);
  return file;
}
