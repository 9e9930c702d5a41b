import type { IncomingMessage } from 'node:http';
import { pipeline, Readable } from 'node:stream';
import { promisify } from 'node:util';
import { createGunzip, gunzip as gunzipWithCallback, type ZlibOptions } from 'node:zlib';
import type { z } from 'zod';
import { JsonSplitter, MalformedJson, RestTooLarge, type StringSink } from './json-splitter.ts';
import { bodyTooLarge, Refused, refusedText, unreadableBody } from './replies.ts';
import { Spool } from './spool.ts';

const unzip = promisify(gunzipWithCallback) as (body: Buffer, options: ZlibOptions) => Promise<Buffer>;

/** A body that makes no progress for so long is given up, so that stuck clients hold no resources. */
const idleMs = 60_000;
const mebibyte = 1024 * 1024;

/** For bodies without bulk, such as `dequeue`. */
export const smallBody: BodyLimit = { bytes: mebibyte, text: '1 MiB' };
/** Heartbeats carry the metrics of the executor, and marks carry messages. */
export const mediumBody: BodyLimit = { bytes: 8 * mebibyte, text: '8 MiB' };
/** 8 MiB of output in base64, and the fields beside it. */
export const appendBody: BodyLimit = { bytes: 12 * mebibyte, text: '12 MiB' };
/** The output in JSON of a genuine executor's log entry, which it sends whole each second. */
const logBody: BodyLimit = { bytes: 512 * mebibyte, text: '512 MiB' };

export interface BodyLimit {
  bytes: number;
  /** As a person reads it. */
  text: string;
}

/** Stands for a string that goes nowhere, in bodies that have none to extract. */
const nowhere: StringSink = { write() {}, reset() {} };

/**
 * Reads a JSON body of any `Content-Type`, gzip or not, against its schema.
 * @throws Refused with 400, 408, 413 or 415 and the reason
 */
export async function readJson<Schema extends z.ZodType>(
  request: IncomingMessage,
  schema: Schema,
  limit: BodyLimit,
): Promise<z.output<Schema>> {
  try {
    const body = await unpack(request, await collect(request, limit), limit);
    const splitter = new JsonSplitter({ sink: nowhere, maxRestBytes: limit.bytes });
    splitter.push(body);
    return decode(splitter.end(), schema);
  } catch (error) {
    throw asRefusal(error, limit);
  }
}

/**
 * Reads a log body: its `out` into a spool (which the caller disposes of), the rest against the schema.
 * @param spoolDirectory where outputs over 1 MiB wait
 * @throws Refused with 400, 408, 413 or 415 and the reason; nothing is left behind then
 */
export async function readLogBody<Schema extends z.ZodType>(
  request: IncomingMessage,
  schema: Schema,
  spoolDirectory: string,
): Promise<{ head: z.output<Schema>; out: Spool }> {
  const out = new Spool(spoolDirectory);
  try {
    const splitter = new JsonSplitter({ key: 'out', sink: out, maxRestBytes: smallBody.bytes });
    for await (const chunk of bodyChunks(request, logBody)) {
      splitter.push(chunk);
      await out.settle();
    }
    const body = splitter.end();
    requireTextOut(body);
    return { head: decode(body, schema), out };
  } catch (error) {
    await out[Symbol.asyncDispose]();
    throw asRefusal(error, { ...logBody, text: `${logBody.text}, all but "out" at most ${smallBody.text}` });
  }
}

/** The splitter leaves `null` where it took the string, so that anything else under this key was no string. */
function requireTextOut(body: unknown): void {
  if (typeof body !== 'object' || body === null) return;
  for (const [key, value] of Object.entries(body)) {
    if (key.toLowerCase() === 'out' && value !== null && typeof value !== 'string') {
      throw new MalformedJson(`out: expected a string, received ${typeof value}`);
    }
  }
}

function decode<Schema extends z.ZodType>(body: unknown, schema: Schema): z.output<Schema> {
  const parsed = schema.safeParse(withoutNul(body));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const where = issue && issue.path.length > 0 ? `${issue.path.join('.')}: ` : '';
  throw new MalformedJson(`${where}${issue?.message ?? 'unexpected shape'}`);
}

/** Postgres keeps no NUL in text. Nesting is bounded by the splitter, so this may recurse. */
function withoutNul(value: unknown): unknown {
  if (typeof value === 'string') return value.includes('\0') ? value.replaceAll('\0', '\ufffd') : value;
  if (Array.isArray(value)) return value.map(withoutNul);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value);
  return Object.fromEntries(entries.map(([key, item]) => [key.replaceAll('\0', '\ufffd'), withoutNul(item)]));
}

/** The whole body as it arrived. By events, because most requests are small and there are thousands a second. */
function collect(request: IncomingMessage, limit: BodyLimit): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const idle = setTimeout(() => settle(stalled()), idleMs);
    function onData(chunk: Buffer): void {
      idle.refresh();
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > limit.bytes) settle(bodyTooLarge(limit.text));
    }
    function onEnd(): void {
      settle(undefined);
    }
    function onClose(): void {
      settle(unreadableBody('the body ended early'));
    }
    function settle(error: Error | undefined): void {
      clearTimeout(idle);
      // What is left of a refused body flows on to nowhere, so that the reply can go out on this connection.
      request.off('data', onData).off('end', onEnd).off('error', settle).off('close', onClose);
      if (error) reject(error);
      else resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks));
    }
    request.on('data', onData).on('end', onEnd).on('error', settle).on('close', onClose);
    // Gone while its credentials were looked up: no event will tell.
    if (request.destroyed) onClose();
  });
}

async function unpack(request: IncomingMessage, body: Buffer, limit: BodyLimit): Promise<Buffer> {
  if (!isGzip(request)) return body;
  return unzip(body, { maxOutputLength: limit.bytes });
}

/** @throws Refused with 415 for any other encoding */
function isGzip(request: IncomingMessage): boolean {
  const encoding = request.headers['content-encoding']?.trim().toLowerCase() ?? '';
  if (encoding === 'gzip' || encoding === 'x-gzip') return true;
  if (encoding === '' || encoding === 'identity') return false;
  throw refusedText(415, `Content-Encoding ${JSON.stringify(encoding)} is not supported: use gzip or none`);
}

/** The body piece by piece, for those that are too large to hold. */
async function* bodyChunks(request: IncomingMessage, limit: BodyLimit): AsyncGenerator<Buffer> {
  const raw = limited(watched(request), limit);
  if (!isGzip(request)) {
    yield* raw;
    return;
  }
  const gunzip = createGunzip();
  // Errors of the source end up in gunzip, and those of gunzip where it is read.
  pipeline(Readable.from(raw), gunzip, () => {});
  try {
    yield* limited(gunzip, limit);
  } finally {
    gunzip.destroy();
  }
}

/** Both what arrives and what it inflates to are limited: a gzip stream can also be endless and hold nothing. */
async function* limited(chunks: AsyncIterable<Buffer>, limit: BodyLimit): AsyncGenerator<Buffer> {
  let bytes = 0;
  for await (const chunk of chunks) {
    bytes += chunk.length;
    if (bytes > limit.bytes) throw bodyTooLarge(limit.text);
    yield chunk;
  }
}

/** The body as it arrives. Leaves the request open when reading stops early: the reply still has to go out. */
async function* watched(request: IncomingMessage): AsyncGenerator<Buffer> {
  const iterator = request.iterator({ destroyOnReturn: false });
  try {
    while (true) {
      const next = await withIdleLimit(iterator.next());
      if (next.done) return;
      yield next.value;
    }
  } finally {
    // Not awaited: with a read under way this waits for the client.
    void iterator.return?.()?.catch?.(() => undefined);
  }
}

async function withIdleLimit<Value>(next: Promise<Value>): Promise<Value> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(stalled()), idleMs);
  try {
    return await Promise.race([next, promise]);
  } finally {
    clearTimeout(timer);
    // When the limit won, the abandoned read fails later, and nobody else looks at it.
    next.catch(() => undefined);
  }
}

function stalled(): Refused {
  return refusedText(408, `No more of the request body arrived within ${idleMs / 1000} seconds`);
}

function asRefusal(error: unknown, limit: BodyLimit): unknown {
  if (error instanceof Refused) return error;
  if (error instanceof RestTooLarge) return bodyTooLarge(limit.text);
  if (error instanceof MalformedJson) return unreadableBody(error.message);
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (code === 'ERR_BUFFER_TOO_LARGE') return bodyTooLarge(limit.text);
  if (code.startsWith('Z_')) return unreadableBody(`malformed gzip body (${code})`);
  if (code === 'ECONNRESET' || code === 'ERR_STREAM_PREMATURE_CLOSE') {
    return unreadableBody('the body ended early');
  }
  return error;
}
