import { writeFileSync } from 'node:fs';
import type { Reporter, SerializedError, TestModule } from 'vitest/node';
import { type Counts, countsFileVariable, plainLine } from './counts.ts';

/**
 * Ends the output with `N passed, N failed, N skipped`, and fails the run on every skip that is not marked
 * `[skip ok]` with its reason: a machine that runs the tests must run them all. Where `npm test` runs Vitest, it is
 * given the counts instead, and writes the line when all else is done.
 */
export default class PlainLineReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly SerializedError[]): void {
    const counts: Counts = { passed: 0, failed: errors.length, skipped: 0 };
    const unexpectedSkips: string[] = [];
    const secondsOf = new Map<string, number>();
    for (const module of modules) {
      counts.failed += module.errors().length;
      const project = module.project.name;
      const { duration, collectDuration, setupDuration } = module.diagnostic();
      const seconds = (duration + collectDuration + setupDuration) / 1000;
      secondsOf.set(project, (secondsOf.get(project) ?? 0) + seconds);
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === 'passed') counts.passed++;
        else if (state === 'failed') counts.failed++;
        else {
          counts.skipped++;
          if (!test.fullName.includes('[skip ok]'))
            unexpectedSkips.push(`${module.moduleId}: ${test.fullName}`);
        }
      }
    }
    for (const [project, seconds] of secondsOf) {
      process.stdout.write(`${project}: ${seconds.toFixed(1)} s of tests\n`);
    }
    if (unexpectedSkips.length > 0) {
      process.exitCode = 1;
      process.stdout.write(`skipped without a reason:\n  ${unexpectedSkips.join('\n  ')}\n`);
    }
    const countsFile = process.env[countsFileVariable];
    if (countsFile) writeFileSync(countsFile, JSON.stringify(counts));
    // Vitest's own summary is printed after this hook; the plain line comes last.
    else process.once('exit', () => process.stdout.write(plainLine(counts)));
  }
}
