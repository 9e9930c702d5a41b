import type { Pattern } from './patterns.ts';

/** Bytes of patterns that are indexed in all; long ones are cut when there are many. */
const maxIndexedBytes = 2 ** 20;
/** No pattern is cut shorter than this: 16 bytes of a secret do not turn up by chance. */
const minIndexedBytesEach = 16;

/** All patterns as a tree of their bytes, numbered breadth first. See {@link Automaton} for the fields. */
export interface Trie {
  patterns: readonly Pattern[];
  states: number;
  childStart: Int32Array;
  labels: Uint8Array;
  depth: Uint16Array;
  patternAt: Int32Array;
  wrappableAt: Int32Array;
}

export function buildTrie(allPatterns: readonly Pattern[]): Trie {
  const patterns = cutLongPatterns(allPatterns);
  const tree = insertAll(patterns);
  const order = new Int32Array(tree.size);
  const trie: Trie = {
    patterns,
    states: tree.size,
    childStart: new Int32Array(tree.size + 1),
    labels: new Uint8Array(tree.size),
    depth: new Uint16Array(tree.size),
    patternAt: new Int32Array(tree.size),
    wrappableAt: new Int32Array(tree.size),
  };
  let placed = 1;
  for (let state = 0; state < tree.size; state++) {
    const node = order[state] ?? 0;
    trie.labels[state] = tree.label[node] ?? 0;
    trie.patternAt[state] = tree.patternAt[node] ?? -1;
    trie.wrappableAt[state] = tree.wrappableAt[node] ?? -1;
    trie.childStart[state] = placed;
    for (let child = tree.firstChild[node] ?? 0; child !== 0; child = tree.nextSibling[child] ?? 0) {
      trie.depth[placed] = (trie.depth[state] ?? 0) + 1;
      order[placed++] = child;
    }
  }
  trie.childStart[tree.size] = placed;
  return trie;
}

/** Equal cuts merge: their rest is then as long as the longest of them. */
function cutLongPatterns(patterns: readonly Pattern[]): Pattern[] {
  const limit = Math.max(minIndexedBytesEach, Math.floor(maxIndexedBytes / patterns.length));
  return patterns.map((pattern) => {
    if (pattern.bytes.length <= limit) return pattern;
    const unindexedBytes = pattern.unindexedBytes + pattern.bytes.length - limit;
    return { ...pattern, bytes: pattern.bytes.subarray(0, limit), unindexedBytes };
  });
}

interface Tree {
  size: number;
  label: Uint8Array;
  firstChild: Int32Array;
  nextSibling: Int32Array;
  patternAt: Int32Array;
  wrappableAt: Int32Array;
}

function insertAll(patterns: Pattern[]): Tree {
  const capacity = patterns.reduce((sum, pattern) => sum + pattern.bytes.length, 1);
  const tree: Tree = {
    size: 1,
    label: new Uint8Array(capacity),
    firstChild: new Int32Array(capacity),
    nextSibling: new Int32Array(capacity),
    patternAt: new Int32Array(capacity).fill(-1),
    wrappableAt: new Int32Array(capacity).fill(-1),
  };
  for (const [index, pattern] of patterns.entries()) insert(tree, patterns, index, pattern);
  return tree;
}

function insert(tree: Tree, patterns: Pattern[], index: number, pattern: Pattern): void {
  const wrappable = pattern.alphabet !== 'any';
  let node = 0;
  for (const byte of pattern.bytes) {
    let child = tree.firstChild[node] ?? 0;
    while (child !== 0 && tree.label[child] !== byte) child = tree.nextSibling[child] ?? 0;
    if (child === 0) {
      child = tree.size++;
      tree.label[child] = byte;
      tree.nextSibling[child] = tree.firstChild[node] ?? 0;
      tree.firstChild[node] = child;
    }
    if (wrappable && (tree.wrappableAt[child] ?? -1) < 0) tree.wrappableAt[child] = index;
    node = child;
  }
  const known = patterns[tree.patternAt[node] ?? -1];
  if (!known) tree.patternAt[node] = index;
  else known.unindexedBytes = Math.max(known.unindexedBytes, pattern.unindexedBytes);
}
