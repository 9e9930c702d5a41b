/** Without a word from the registry: the first pause, doubled up to the longest. */
const firstPauseSeconds = 10;
const longestPauseSeconds = 120;

/**
 * How long to wait after "too many requests".
 * @param header `Retry-After`: seconds, or a date
 * @param attempt counted from 0
 * @returns whole seconds, at least 1
 */
export function pauseSeconds(header: string | string[] | undefined, attempt: number, now: Date): number {
  const text = (Array.isArray(header) ? header[0] : header)?.trim() ?? '';
  const told = /^\d{1,9}$/.test(text) ? Number(text) : (Date.parse(text) - now.getTime()) / 1000;
  if (text !== '' && Number.isFinite(told)) return Math.max(1, Math.ceil(told));
  return Math.min(firstPauseSeconds * 2 ** attempt, longestPauseSeconds);
}
