/**
 * Allows so many things a second on average, and that many at once.
 * @param now milliseconds that only grow
 */
export function rateLimit(perSecond: number, now: () => number = () => performance.now()): () => boolean {
  let left = perSecond;
  let last = now();
  return () => {
    const time = now();
    left = Math.min(perSecond, left + ((time - last) / 1000) * perSecond);
    last = time;
    if (left < 1) return false;
    left -= 1;
    return true;
  };
}
