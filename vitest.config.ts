import { defineConfig } from 'vitest/config';

// `*.test.ts` needs nothing but Node. `*.pg.test.ts`, `*.git.test.ts` and `*.docker.test.ts` beside the source, and
// all of test/, use real services.
const services = ['{apps,packages}/*/src/**/*.{pg,git,docker}.test.ts'];

export default defineConfig({
  test: {
    reporters: ['default', './tools/test/plain-line-reporter.ts'],
    projects: [
      {
        test: {
          name: 'unit',
          include: ['{apps,packages}/*/src/**/*.test.ts', 'tools/**/*.test.ts'],
          exclude: services,
          isolate: false,
          // Milliseconds of work each, but a busy machine may take its time over them.
          testTimeout: 20_000,
        },
      },
      { test: { name: 'services', include: services, testTimeout: 120_000, hookTimeout: 120_000 } },
      {
        test: {
          name: 'scenarios',
          include: ['test/**/*.test.ts'],
          // More than what is waited for inside a test, whose error says more than a time limit does.
          testTimeout: 300_000,
          hookTimeout: 300_000,
        },
      },
    ],
  },
});
