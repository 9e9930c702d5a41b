import { ImageError } from './image-error.ts';

export function diskFull(cause?: unknown): ImageError {
  return new ImageError(
    'the disk with EXECUTOR_DATA_DIR is full: make room on it, for example with "executor image prune", or set EXECUTOR_IMAGE_CACHE_SIZE lower',
    { infrastructure: true, cause },
  );
}

/** The system's error for a full disk as one for people; any other as it is. */
export function inWords(error: unknown): unknown {
  const code = error instanceof Error ? String(Reflect.get(error, 'code')) : '';
  return ['ENOSPC', 'EDQUOT'].includes(code) ? diskFull(error) : error;
}
