import { createInterface } from 'node:readline';
import { formatByteSize } from '@kiln/protocol';
import { z } from 'zod';
import type { ImageReference } from '../registries/index.ts';
import type { Engine } from './engine.ts';
import { EngineError } from './engine-errors.ts';
import type { RegistryCredentials } from './registry-credentials.ts';

/** A pull that shows no progress for so long is given up: its connection is dead. */
const maxSilentSeconds = 300;
/** At most one progress line per so many seconds in the job's log. */
const noticeSeconds = 5;

const lineSchema = z.object({
  id: z.string().optional(),
  status: z.string().optional(),
  error: z.string().optional(),
  progressDetail: z.object({ current: z.number().optional(), total: z.number().optional() }).optional(),
});

/**
 * Pulls an image by its tag or digest.
 * @throws EngineError with the registry's own words, EngineUnreachable, or the signal's reason
 */
export async function pullImage(
  engine: Engine,
  reference: ImageReference,
  credentials: RegistryCredentials,
  notice: (line: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const name = reference.familiarName;
  notice(`pulling image ${name}`);
  const silent = new AbortController();
  const body = await engine.stream({
    method: 'POST',
    path: '/images/create',
    query: { fromImage: name, tag: reference.digest ?? reference.tag ?? 'latest' },
    headers: credentials.header === undefined ? {} : { 'x-registry-auth': credentials.header },
    deadlineSeconds: maxSilentSeconds,
    signal: AbortSignal.any([signal, silent.signal]),
  });
  const timer = setTimeout(() => silent.abort(), maxSilentSeconds * 1000);
  const layers = new Map<string, { current: number; total: number }>();
  let lastNotice = performance.now();
  try {
    // A pull answers 200 at once; whether it worked is in its last line.
    for await (const text of createInterface({ input: body, crlfDelay: Number.POSITIVE_INFINITY })) {
      timer.refresh();
      if (text.trim() === '') continue;
      const line = lineSchema.safeParse(JSON.parse(text));
      if (!line.success) continue;
      if (line.data.error !== undefined) throw new EngineError(line.data.error, 500);
      const { id, progressDetail, status } = line.data;
      if (id !== undefined && progressDetail?.total !== undefined && status === 'Downloading')
        layers.set(id, { current: progressDetail.current ?? 0, total: progressDetail.total });
      if (performance.now() - lastNotice < noticeSeconds * 1000) continue;
      lastNotice = performance.now();
      const sum = [...layers.values()].reduce(
        (a, b) => ({
          current: a.current + b.current,
          total: a.total + b.total,
        }),
        { current: 0, total: 0 },
      );
      notice(`pulling image ${name}: ${formatByteSize(sum.current)} of ${formatByteSize(sum.total)}`);
    }
    signal.throwIfAborted();
    if (silent.signal.aborted)
      throw new EngineError(`the registry sent nothing for ${maxSilentSeconds} s`, 504);
  } finally {
    clearTimeout(timer);
    body.destroy();
  }
}
