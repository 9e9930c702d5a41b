/** Ids come from outside; anything else would be an error of a whole grouped statement. */
export function isJobId(value: number): boolean {
  return Number.isSafeInteger(value) && value > 0;
}
