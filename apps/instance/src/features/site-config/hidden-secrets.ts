import { randomBytes } from 'node:crypto';
import { type Node, visit } from 'jsonc-parser';
import { jsonWithComments, readTree } from './parse.ts';
import { hiddenSecretId, hiddenSecretMark, secretKeys } from './schema.ts';

/**
 * A site configuration that may be shown: in place of each secret there is a mark such as `hidden secret 1f0c93ab`.
 * No secret can look like one, because secrets have no spaces. The marks may be moved about, copied and left out.
 */
export interface HiddenConfig {
  text: string;
  /** What the marks stand for, by their ids; also those in comments. */
  secrets: ReadonlyMap<string, string>;
}

/** The text that counts: marks are replaced where secrets may stand. Those that stand for nothing stay. */
export function revealSecrets({ text, secrets }: HiddenConfig): string {
  return replaceSecrets(text, (value) => secrets.get(hiddenSecretId(value) ?? '') ?? value);
}

/**
 * Hides the secrets of a valid configuration. A secret that is known keeps its mark; so people see in a comparison what
 * became another one. In comments only known secrets and those of the same text are hidden: nothing there says what else is one.
 * @param text may have marks of the known ones already
 * @param known by id, such as those of the version before
 */
export function hideSecrets(text: string, known: ReadonlyMap<string, string>): HiddenConfig {
  const ids = new Map([...known].map(([id, value]) => [value, id]));
  const hidden = replaceSecrets(text, (value) => {
    if (hiddenSecretId(value) !== undefined) return value;
    const id = ids.get(value) ?? randomBytes(4).toString('hex');
    ids.set(value, id);
    return hiddenSecretMark(id);
  });
  const shown = replaceInComments(hidden, ids);
  return {
    text: shown,
    secrets: new Map(
      [...ids]
        .map(([value, id]) => [id, value] as const)
        .filter(([id]) => shown.includes(hiddenSecretMark(id))),
    ),
  };
}

/** Replaces the strings that are secrets, and leaves every other character as it is. */
function replaceSecrets(text: string, replace: (value: string) => string): string {
  const root = readTree(text, 'site configuration');
  const strings = (root?.children ?? []).flatMap((property) => {
    const [key, value] = property.children ?? [];
    return value && secretKeys.has(String(key?.value)) ? stringsOf(value) : [];
  });
  return replaceRanges(
    text,
    strings.map(({ offset, length, value }) => {
      const replaced = replace(value);
      // Untouched where nothing changes: however it was escaped.
      return {
        offset,
        length,
        by: replaced === value ? text.slice(offset, offset + length) : JSON.stringify(replaced),
      };
    }),
  );
}

function stringsOf(node: Node): Node[] {
  return node.type === 'string' ? [node] : (node.children ?? []).flatMap(stringsOf);
}

function replaceInComments(text: string, ids: ReadonlyMap<string, string>): string {
  const comments: Replacement[] = [];
  visit(
    text,
    {
      onComment(offset, length) {
        let by = text.slice(offset, offset + length);
        for (const [value, id] of ids) by = by.replaceAll(value, hiddenSecretMark(id));
        comments.push({ offset, length, by });
      },
    },
    jsonWithComments,
  );
  return replaceRanges(text, comments);
}

interface Replacement {
  offset: number;
  length: number;
  by: string;
}

function replaceRanges(text: string, replacements: readonly Replacement[]): string {
  let result = text;
  // From the end, so that offsets before stay right.
  for (const { offset, length, by } of replacements.toReversed()) {
    result = result.slice(0, offset) + by + result.slice(offset + length);
  }
  return result;
}
