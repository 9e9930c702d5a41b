import type { Reporter, SerializedError, TestModule } from 'vitest/node';

/**
 * Ends the output with `N passed, N failed, N skipped`, and fails the run on every skip that is not marked
 * `[skip ok]` with its reason: a machine that runs the tests must run them all.
 */
export default class PlainLineReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly SerializedError[]): void {
    let passed = 0;
    let failed = errors.length;
    let skipped = 0;
    const unexpectedSkips: string[] = [];
    for (const module of modules) {
      failed += module.errors().length;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === 'passed') passed++;
        else if (state === 'failed') failed++;
        else {
          skipped++;
          if (!test.fullName.includes('[skip ok]')) unexpectedSkips.push(test.fullName);
        }
      }
    }
    if (unexpectedSkips.length > 0) {
      process.exitCode = 1;
      process.stdout.write(`skipped without a reason:\n  ${unexpectedSkips.join('\n  ')}\n`);
    }
    // Vitest's own summary is printed after this hook; the plain line comes last.
    process.once('exit', () =>
      process.stdout.write(`${passed} passed, ${failed} failed, ${skipped} skipped\n`),
    );
  }
}
