/** A number that goes up and down, and the highest that it has been of late: what is between two looks is seen too. */
export interface RecentMaximum {
  add(by: number): void;
  /** The highest value within the last seconds. */
  highest(): number;
}

/** @param now milliseconds of a clock that never goes back */
export function recentMaximum(seconds: number, now: () => number = () => performance.now()): RecentMaximum {
  let value = 0;
  /** Values that have been left since, with when; the oldest first. */
  let left: { value: number; at: number }[] = [];

  function recent(): { value: number; at: number }[] {
    return left.filter(({ at }) => now() - at <= seconds * 1000);
  }

  return {
    add(by) {
      left = [...recent(), { value, at: now() }];
      value += by;
    },
    highest: () => Math.max(value, ...recent().map((past) => past.value)),
  };
}
