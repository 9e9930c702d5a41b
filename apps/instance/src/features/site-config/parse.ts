import { editDistance } from '@kiln/protocol';
import { findNodeAtLocation, type Node, type ParseError, parseTree, printParseErrorCode } from 'jsonc-parser';
import type { z } from 'zod';
import { type SiteConfigValues, siteConfigKeys, siteConfigSchema, toValues } from './schema.ts';

/** How `jsonc-parser` is to read a site configuration. */
export const jsonWithComments = { allowTrailingComma: true, allowEmptyContent: true } as const;

/** Nobody mends more at once, and a text of mistakes must not take long. */
const maxMistakes = 20;

/** The site configuration has mistakes; `mistakes` are lines such as `3: "executors.accessToken" must have ...`. */
export class SiteConfigError extends Error {
  override readonly name = 'SiteConfigError';
  readonly path: string;
  readonly mistakes: readonly string[];

  /** @param hint what to do, where that is not plain from the mistakes */
  constructor(path: string, mistakes: readonly string[], hint?: string) {
    const lines = mistakes.map((mistake) => `  ${path}:${mistake}`);
    super(
      ['The site configuration is not valid:', ...lines, ...(hint === undefined ? [] : [hint])].join('\n'),
    );
    this.path = path;
    this.mistakes = mistakes;
  }
}

/**
 * Reads a site configuration: JSON in which comments and trailing commas are allowed. An empty text is an empty
 * configuration. Mistakes are all reported, with their line, and never quote a value: it may be a secret.
 * @throws SiteConfigError
 */
export function parseSiteConfig(text: string, path: string): SiteConfigValues {
  const source = text.replace(/^\uFEFF/, '');
  const errors: ParseError[] = [];
  const root = readTree(source, path, errors);
  if (errors.length > 0) {
    throw new SiteConfigError(
      path,
      errors.slice(0, 5).map((error) => `${lineOf(source, error.offset)}: ${syntaxMistake(error)}`),
    );
  }
  if (root !== undefined && root.type !== 'object') {
    throw new SiteConfigError(path, ['1: must be an object: {"key": value, ...}']);
  }
  const repeated = repeatedKeys(root)
    .slice(0, maxMistakes)
    .map((node) => `${lineOf(source, node.offset)}: ${JSON.stringify(node.value)} is set twice`);
  if (repeated.length > 0) throw new SiteConfigError(path, repeated);

  const result = siteConfigSchema.safeParse(plainValue(root));
  if (result.success) return toValues(result.data);
  throw new SiteConfigError(
    path,
    result.error.issues.flatMap((issue) => issueMistakes(issue, source, root)).slice(0, maxMistakes),
  );
}

/**
 * The text as a tree, with mistakes of its syntax in `errors`.
 * @throws SiteConfigError when it is nested deeper than the parser's recursion goes
 */
export function readTree(source: string, path: string, errors: ParseError[] = []): Node | undefined {
  try {
    return parseTree(source, errors, jsonWithComments);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new SiteConfigError(path, ['1: is nested too deeply']);
  }
}

function issueMistakes(issue: z.core.$ZodIssue, source: string, root: Node | undefined): string[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys
      .slice(0, maxMistakes)
      .map((key) => `${lineOfKey(source, root, key)}: ${unknownKey(key)}`);
  }
  const location = issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part));
  const node = root && findNodeAtLocation(root, location);
  const [key, ...rest] = location;
  const name = `"${String(key)}"${rest.map((part) => `[${part}]`).join('')}`;
  return [`${lineOf(source, node?.offset ?? 0)}: ${name}: ${issue.message}`];
}

/** The tree as plain values, without ever setting a property such as `__proto__` on an ordinary object. */
function plainValue(node: Node | undefined): unknown {
  if (node === undefined) return {};
  if (node.type === 'array') return (node.children ?? []).map(plainValue);
  if (node.type !== 'object') return node.value;
  return Object.fromEntries(
    (node.children ?? []).map((property) => [
      String(property.children?.[0]?.value),
      plainValue(property.children?.[1]),
    ]),
  );
}

function repeatedKeys(root: Node | undefined): Node[] {
  const seen = new Set<unknown>();
  return (root?.children ?? []).flatMap((property) => {
    const key = property.children?.[0];
    if (key === undefined) return [];
    if (seen.has(key.value)) return [key];
    seen.add(key.value);
    return [];
  });
}

function lineOfKey(source: string, root: Node | undefined, key: string): number {
  const node = root?.children?.find((property) => property.children?.[0]?.value === key);
  return lineOf(source, node?.offset ?? 0);
}

function lineOf(source: string, offset: number): number {
  return source.slice(0, offset).split('\n').length;
}

function syntaxMistake(error: ParseError): string {
  const words = printParseErrorCode(error.error)
    .replace(/([a-z])([A-Z])/g, '$1 $2')
    .toLowerCase();
  return `not valid JSON here (${words})`;
}

/** `unknown key "x": did you mean "y"?` */
export function unknownKey(key: string): string {
  return `unknown key "${key}"${suggestion(key)}`;
}

function suggestion(key: string): string {
  const nested = siteConfigKeys.find((known) => known.startsWith(`${key}.`));
  if (nested !== undefined) return `: keys are written in full, such as "${nested}"`;
  const folded = key.toLowerCase();
  const closest = siteConfigKeys
    .map((known) => ({ known, distance: editDistance(folded, known.toLowerCase()) }))
    .toSorted((a, b) => a.distance - b.distance)[0];
  if (closest !== undefined && closest.distance <= Math.max(2, key.length / 4)) {
    return `: did you mean "${closest.known}"?`;
  }
  return `; known keys are ${siteConfigKeys.join(', ')}`;
}
