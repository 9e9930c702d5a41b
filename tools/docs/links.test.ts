import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';

const root = path.join(import.meta.dirname, '..', '..');
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], {
  cwd: root,
})
  .toString()
  .trim()
  .split('\n')
  .filter((file) => existsSync(path.join(root, file)));

describe('every relative link in the documents leads somewhere', () => {
  it.each(files)('%s', (file) => {
    const broken = links(readFileSync(path.join(root, file), 'utf8')).filter(
      (link) => !leadsSomewhere(file, link),
    );
    expect(broken).toEqual([]);
  });
});

/** A path in backticks that names a file of the sources is a promise too. */
describe('every source file that docs/architecture.md names exists', () => {
  const text = readFileSync(path.join(root, 'docs/architecture.md'), 'utf8');
  const named = [...text.matchAll(/`((?:apps|packages|tools|test|bin|bench|docs)\/[\w./-]+)`/g)].map(
    ([, name]) => name,
  );

  it('names some', () => {
    expect(named.length).toBeGreaterThan(10);
  });

  it.each([...new Set(named)])('%s', (name) => {
    expect(existsSync(path.join(root, name ?? ''))).toBe(true);
  });
});

function links(text: string): string[] {
  const prose = text.replace(/^```[\s\S]*?^```$/gm, '').replace(/`[^`\n]*`/g, '');
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target]) => target ?? '')
    .filter((target) => !/^\w+:/.test(target));
}

function leadsSomewhere(file: string, link: string): boolean {
  const [target = '', fragment] = link.split('#');
  const linked = target === '' ? file : path.join(path.dirname(file), decodeURIComponent(target));
  if (!existsSync(path.join(root, linked))) return false;
  return fragment === undefined || anchors(readFileSync(path.join(root, linked), 'utf8')).has(fragment);
}

function anchors(text: string): ReadonlySet<string> {
  const headings = [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
  return new Set(headings);
}
