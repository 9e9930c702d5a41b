import { applyEdits, findNodeAtLocation, modify, visit } from 'jsonc-parser';
import { jsonWithComments, readTree } from './parse.ts';

/** Sets one key of a valid configuration; comments, order and everything else stay. */
export function setKey(text: string, key: string, value: unknown): string {
  const formattingOptions = { insertSpaces: true, tabSize: 2, eol: text.includes('\r\n') ? '\r\n' : '\n' };
  return applyEdits(text, modify(text, [key], value, { formattingOptions }));
}

/**
 * Takes one key out of a valid configuration, with the line that it stood on; comments stay. (The library's own removal
 * leaves a lone comma, and takes comments before the key along.)
 */
export function unsetKey(text: string, key: string): string {
  const root = readTree(text, 'site configuration');
  const property = root && findNodeAtLocation(root, [key])?.parent;
  if (!property) return text;
  const start = property.offset;
  const end = start + property.length;
  const commas = findCommas(text);
  // In a valid object what comes next is a comma or the end, and what came before a comma or the beginning.
  const after = commas.find((offset) => offset >= end);
  const before = after === undefined ? commas.findLast((offset) => offset < start) : undefined;
  const head = without(text.slice(0, start), before);
  const tail = without(text.slice(end), after === undefined ? undefined : after - end);
  const isAlone = /(?:^|\n)[ \t]*$/.test(head) && /^[ \t]*\r?\n/.test(tail);
  return isAlone ? head.replace(/[ \t]*$/, '') + tail.replace(/^[ \t]*\r?\n/, '') : head + tail;
}

function findCommas(text: string): number[] {
  const commas: number[] = [];
  visit(
    text,
    { onSeparator: (character, offset) => void (character === ',' && commas.push(offset)) },
    jsonWithComments,
  );
  return commas;
}

function without(text: string, offset: number | undefined): string {
  return offset === undefined ? text : text.slice(0, offset) + text.slice(offset + 1);
}
