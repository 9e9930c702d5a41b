import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';

/** A request body that cannot be used, with the status that says so. */
export class RequestBodyError extends Error {
  override readonly name = 'RequestBodyError';
  readonly status: 400 | 408 | 413 | 415;

  constructor(status: RequestBodyError['status'], message: string) {
    super(message);
    this.status = status;
  }
}

const uploadSeconds = 300;

/**
 * Reads a whole body, unpacked where `encoding` is `gzip`. Both what is sent and what it unpacks to are limited: a
 * few KiB can unpack to GiB, and an endless body can unpack to nothing.
 * @throws RequestBodyError; the signal's reason when the client is gone
 */
export async function readBody(
  body: Readable,
  options: { encoding: string | undefined; maxBytes: number; signal: AbortSignal },
): Promise<Buffer> {
  const { maxBytes, signal } = options;
  const encoding = options.encoding?.trim().toLowerCase() ?? '';
  const zipped = encoding === 'gzip' || encoding === 'x-gzip';
  if (!zipped && encoding !== '' && encoding !== 'identity') {
    throw new RequestBodyError(415, `content encoding ${JSON.stringify(encoding)} is not supported`);
  }
  const timeout = AbortSignal.timeout(uploadSeconds * 1000);
  const chunks: Buffer[] = [];
  const both = AbortSignal.any([signal, timeout]);
  try {
    if (zipped) {
      await pipeline(body, limit(maxBytes), createGunzip(), limit(maxBytes, chunks), drain, { signal: both });
    } else {
      await pipeline(body, limit(maxBytes, chunks), drain, { signal: both });
    }
  } catch (err) {
    if (signal.aborted) throw signal.reason;
    if (timeout.aborted)
      throw new RequestBodyError(408, `the request body took longer than ${uploadSeconds} s`);
    if (isZlibError(err)) throw new RequestBodyError(400, 'malformed gzip body');
    throw err;
  }
  return Buffer.concat(chunks);
}

function limit(maxBytes: number, keep?: Buffer[]) {
  return async function* (source: AsyncIterable<Buffer>) {
    let bytes = 0;
    for await (const chunk of source) {
      bytes += chunk.length;
      if (bytes > maxBytes) {
        throw new RequestBodyError(413, `the request body is larger than ${maxBytes} bytes`);
      }
      keep?.push(chunk);
      yield chunk;
    }
  };
}

async function drain(source: AsyncIterable<Buffer>): Promise<void> {
  for await (const _ of source);
}

function isZlibError(err: unknown): boolean {
  const code = err instanceof Error && 'code' in err ? String(err.code) : '';
  return code.startsWith('Z_') || code === 'ERR_TRAILING_JUNK_AFTER_STREAM_END';
}
