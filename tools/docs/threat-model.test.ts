import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';

const file = path.join(import.meta.dirname, '../../docs/security/threat-model.md');
const text = readFileSync(file, 'utf8');

interface Row {
  kind: string;
  threat: string;
  mitigation: string;
  test: string;
}

/** Rows of the tables of threats, without their heads. */
const rows: Row[] = text
  .split('\n')
  .filter((line) => /^\| [STRIDE]+ \|/.test(line))
  .map((line) => {
    const [kind = '', threat = '', mitigation = '', test = ''] = line.slice(2, -2).split(' | ');
    return { kind, threat, mitigation, test };
  });

describe('every threat has a mitigation, and a test that would fail without it', () => {
  it('names them', () => {
    expect(rows.length).toBeGreaterThan(30);
    // A table of another form would not be looked at.
    expect(text).not.toMatch(/^\| threat \|/m);
  });

  it.each(rows)('$threat', ({ mitigation, test }) => {
    expect(mitigation).not.toBe('');
    const links = [...test.matchAll(/\[([^\]]+)\]\(([^)]+)\)/g)].map(([, title, target]) => ({
      title,
      target,
    }));
    expect(links).not.toEqual([]);
    for (const { title, target = '' } of links) {
      expect(path.basename(target)).toBe(title);
      expect(target).toMatch(/\.test\.ts$/);
      expect(existsSync(path.resolve(path.dirname(file), target))).toBe(true);
    }
  });
});

it('each section of threats is a trust boundary of the list', () => {
  const listed = [...text.matchAll(/^\| \d+ \| \[([^\]]+)\]/gm)].map(([, title]) => title);
  const sections = text
    .split(/^## /m)
    .filter((section) => /^\| [STRIDE]+ \|/m.test(section))
    .map((section) => section.split('\n')[0]);
  expect(sections).toEqual(listed);
});
