/** First versions without some hole, one for each series in which it was mended, oldest first. Newer series never had it. */
export type Mended = readonly (readonly [major: number, minor: number, patch: number])[];

/**
 * Whether a program is older than the mending of a hole. Series before the last that are not listed were never mended.
 * @param version `1.2.8`, with anything before and behind; what cannot be read is not accused
 */
export function hasHole(version: string | undefined, mended: Mended): boolean {
  const numbers = /(\d+)\.(\d+)\.(\d+)/.exec(version ?? '');
  const last = mended.at(-1);
  if (numbers === null || last === undefined) return false;
  const [major = 0, minor = 0, patch = 0] = numbers.slice(1).map(Number);
  const series = mended.find((one) => one[0] === major && one[1] === minor);
  if (series !== undefined) return patch < series[2];
  return major < last[0] || (major === last[0] && minor < last[1]);
}
