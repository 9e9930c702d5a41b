import { expect, test } from 'vitest';
import { error, ok, warning } from './check.ts';
import { checksText } from './text.ts';

test('one line per check, and below a problem what to do', () => {
  const checks = [
    ok('git', 'git 2.39.5'),
    warning('host', 'swap\n is on', 'turn it off'),
    error('kvm', 'none', 'get it'),
  ];
  expect(checksText(checks)).toBe(
    [
      '✓ git   git 2.39.5',
      '! host  swap is on',
      '        → turn it off',
      '✗ kvm   none',
      '        → get it',
      '',
      '1 check is fine, 1 warning, 1 error. This executor cannot work until the errors are mended.',
      '',
    ].join('\n'),
  );
});

test.each([
  [[ok('a', 'x'), ok('b', 'y')], '2 checks are fine. This executor can work.'],
  [[warning('a', 'x', 'y')], '1 warning. This executor can work; read the warnings.'],
])('sums up %#', (checks, summary) => {
  expect(checksText(checks).trimEnd().split('\n').at(-1)).toBe(summary);
});
