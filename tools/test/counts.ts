export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** Environment variable: where the reporter leaves the counts for `npm test`. */
export const countsFileVariable = 'KILN_TEST_COUNTS_FILE';

/** The last line of every test run. */
export function plainLine({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped\n`;
}
