const unitPowers: Readonly<Record<string, number>> = { '': 0, B: 0, K: 1, M: 2, G: 3, T: 4, P: 5 };

/**
 * Reads a size such as `12G`, `12GB`, `12GiB`, `512m`, `1.5 GB` or plain bytes. All units are powers of 1024,
 * as Docker reads `--memory`, whichever way they are spelled.
 * @returns bytes, a whole number
 * @throws RangeError with the accepted forms
 */
export function parseByteSize(text: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([KMGTP]?)(?:I?B)?\s*$/i.exec(text);
  const power = unitPowers[(match?.[2] ?? '').toUpperCase()];
  const bytes = match && power !== undefined ? Math.round(Number(match[1]) * 1024 ** power) : Number.NaN;
  if (!Number.isSafeInteger(bytes)) {
    throw new RangeError(`${JSON.stringify(text)} is not a size such as "12G", "512M" or "20GB"`);
  }
  return bytes;
}

/** Writes bytes for people: `1.5 GiB`, `64 KiB`, `12 B`. */
export function formatByteSize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let power = 0;
  // From 1023.95 on it would be written as 1024 of this unit.
  for (; power < units.length - 1 && value >= (power === 0 ? 1024 : 1023.95); power++) value /= 1024;
  const digits = power === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits).replace(/\.0$/, '')} ${units[power]}`;
}
