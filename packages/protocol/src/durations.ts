const unitSeconds: Readonly<Record<string, number>> = {
  h: 3600,
  m: 60,
  s: 1,
  ms: 1e-3,
  us: 1e-6,
  µs: 1e-6, // U+00B5, micro sign
  μs: 1e-6, // U+03BC, Greek letter mu
  ns: 1e-9,
};
const amount = '(\\d+\\.?\\d*|\\.\\d+)(h|ms|m|s|us|\u00b5s|\u03bcs|ns)';
const wholePattern = new RegExp(`^([+-]?)(?:0|((?:${amount})+))$`);
const partPattern = new RegExp(amount, 'g');
/** Go counts nanoseconds in 64 bits. */
const maxSeconds = 2 ** 63 / 1e9;

/**
 * Reads a duration in Go's syntax (`30m`, `1h15m`, `500ms`, `1.5s`, `0`), the syntax of every executor setting.
 * @returns seconds
 * @throws RangeError with the accepted forms; a bare number other than 0 is one of the common mistakes
 */
export function parseDuration(text: string): number {
  const match = wholePattern.exec(text);
  if (!match) {
    const hint = /^\d+$/.test(text) ? ` (a number needs a unit: "${text}s" or "${text}m")` : '';
    throw new RangeError(
      `${JSON.stringify(text)} is not a duration such as "30m", "1h15m" or "500ms"${hint}`,
    );
  }
  let seconds = 0;
  for (const [, number, unit] of (match[2] ?? '').matchAll(partPattern)) {
    seconds += Number(number) * (unitSeconds[unit ?? ''] ?? Number.NaN);
  }
  if (seconds > maxSeconds) throw new RangeError(`${JSON.stringify(text)} is longer than 292 years`);
  return match[1] === '-' ? 0 - seconds : seconds;
}

/** Writes seconds as Go does: `30m0s`, `1h15m0s`, `500ms`, `0s`. Messages of the protocol quote durations in this form. */
export function formatDuration(seconds: number): string {
  // In whole nanoseconds, as Go counts: rounding the parts would make a "60s" of 59.9999999999 seconds.
  const total = BigInt(Math.round(Math.abs(seconds) * 1e9));
  const sign = seconds < 0 && total > 0n ? '-' : '';
  if (total === 0n) return '0s';
  if (total < 1000n) return `${sign}${total}ns`;
  if (total < 1_000_000n) return `${sign}${decimal(total, 3)}µs`;
  if (total < 1_000_000_000n) return `${sign}${decimal(total, 6)}ms`;
  const hours = total / 3_600_000_000_000n;
  const minutes = (total / 60_000_000_000n) % 60n;
  const rest = `${decimal(total % 60_000_000_000n, 9)}s`;
  if (hours > 0n) return `${sign}${hours}h${minutes}m${rest}`;
  return minutes > 0n ? `${sign}${minutes}m${rest}` : `${sign}${rest}`;
}

/** `value / 10^digits` without trailing zeros. */
function decimal(value: bigint, digits: number): string {
  const scale = 10n ** BigInt(digits);
  const fraction = (value % scale).toString().padStart(digits, '0').replace(/0+$/, '');
  return fraction === '' ? String(value / scale) : `${value / scale}.${fraction}`;
}
