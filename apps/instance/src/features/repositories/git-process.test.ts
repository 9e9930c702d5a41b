import { expect, it } from 'vitest';
import { cleanGitText } from './git-process.ts';

it('keeps what a person needs of what git said', () => {
  expect(cleanGitText('fatal: not found\n')).toBe('fatal: not found');
  expect(cleanGitText('remote: 10%\rremote: 100%\rremote: done\nfatal: x\n')).toBe('remote: done\nfatal: x');
  expect(cleanGitText('line\r\nnext\r\n')).toBe('line\nnext');
});

it('removes passwords, escape sequences and what reverses text', () => {
  expect(cleanGitText("fatal: unable to access 'https://me:s3cret@host/x/': 500")).toBe(
    "fatal: unable to access 'https://host/x/': 500",
  );
  expect(cleanGitText('https://a@b:c@host/x')).toBe('https://host/x');
  expect(cleanGitText('\x1b[31mred\x1b[0m \u202eevil\x07')).toBe('red evil');
});

it('is short, whatever a server sends', () => {
  for (const flood of ['x', 'a://', '\x1b[', '://@', '\r', 'x\n']) {
    expect(cleanGitText(flood.repeat(500_000)).length).toBeLessThanOrEqual(2000);
  }
});
