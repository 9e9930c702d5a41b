const unitSeconds: Readonly<Record<string, number>> = {
  h: 3600,
  m: 60,
  s: 1,
  ms: 1e-3,
  us: 1e-6,
  µs: 1e-6,
  ns: 1e-9,
};

/**
 * Reads a duration in Go's syntax (`30m`, `1h15m`, `500ms`, `1.5s`, `0`), the syntax of every executor setting.
 * @returns seconds
 * @throws RangeError with the accepted forms; a bare number other than 0 is one of the common mistakes
 */
export function parseDuration(text: string): number {
  if (text === '0') return 0;
  const match = /^([+-]?)((?:\d+(?:\.\d*)?|\.\d+)(?:h|ms|m|s|us|µs|ns))+$/.exec(text);
  if (!match) {
    const hint = /^\d+$/.test(text) ? ` (a number needs a unit: "${text}s" or "${text}m")` : '';
    throw new RangeError(
      `${JSON.stringify(text)} is not a duration such as "30m", "1h15m" or "500ms"${hint}`,
    );
  }
  let seconds = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|ns)/g)) {
    seconds += Number(amount) * (unitSeconds[unit ?? ''] ?? Number.NaN);
  }
  return match[1] === '-' ? -seconds : seconds;
}

/** Writes seconds as Go does: `30m0s`, `1h15m0s`, `500ms`, `0s`. Messages of the protocol quote durations in this form. */
export function formatDuration(seconds: number): string {
  if (seconds === 0) return '0s';
  if (seconds < 0) return `-${formatDuration(-seconds)}`;
  if (seconds < 1) return `${round(seconds * 1000)}ms`;
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  const rest = `${round(seconds % 60)}s`;
  if (hours > 0) return `${hours}h${minutes}m${rest}`;
  return minutes > 0 ? `${minutes}m${rest}` : rest;
}

function round(value: number): number {
  return Math.round(value * 1e6) / 1e6;
}
