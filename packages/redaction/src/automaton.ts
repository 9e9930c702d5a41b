import type { Pattern } from './patterns.ts';
import { buildTrie } from './trie.ts';

/**
 * An Aho-Corasick automaton over bytes. States are numbered breadth first, 0 is the root: what text reaches by chance
 * has low numbers. The first `denseStates` have a full row of transitions in `table`; the others, reached by text that
 * has already matched several bytes, keep only their children and a failure link. A full table for all states of 100
 * values of 4 KiB would take gigabytes.
 */
export interface Automaton {
  patterns: readonly Pattern[];
  states: number;
  denseStates: number;
  /** Columns of `table`: one per byte that occurs in a pattern, LF, CR, and one for all the rest. */
  width: number;
  /** Byte -> column. */
  columns: Uint8Array;
  /**
   * `table[state * width + column]`: what follows, as `state * width` where that is dense and nothing happens there;
   * else the complement (`~`) of the state; the complement of `states + from` for a line end at which encoded text may
   * be wrapped.
   */
  table: Int32Array;
  /** Children of a state are the states `childStart[state]` up to `childStart[state + 1]`, told apart by `labels`. */
  childStart: Int32Array;
  labels: Uint8Array;
  /** The state of the longest proper suffix. */
  failure: Int32Array;
  /** Bytes from the root: how much of the text's tail may begin a pattern. */
  depth: Uint16Array;
  /** The pattern that ends at a state, or -1. */
  patternAt: Int32Array;
  /** The next state down the failure links whose pattern must be looked at as well, or 0. */
  alsoAt: Int32Array;
  /** A wrappable pattern (base64, hex) that passes through a state, or -1. */
  wrappableAt: Int32Array;
  /** 1 where this state or one down its failure links is inside a wrappable pattern. */
  mayWrap: Uint8Array;
  /** 1 for each byte that may hold the first bits of some base64 form. */
  leadBytes: Uint8Array;
}

const maxTableBytes = 8 * 1024 * 1024;

export function buildAutomaton(patterns: readonly Pattern[]): Automaton {
  const trie = buildTrie(patterns);
  const { states, labels, childStart, patternAt, depth } = trie;
  const { columns, width } = chooseColumns(trie.patterns);
  const denseStates = Math.min(states, Math.max(1, Math.floor(maxTableBytes / 4 / width)));
  const automaton: Automaton = {
    ...trie,
    denseStates,
    width,
    columns,
    table: new Int32Array(denseStates * width),
    failure: new Int32Array(states),
    alsoAt: new Int32Array(states),
    mayWrap: new Uint8Array(states),
    leadBytes: leadBytesOf(patterns),
  };
  const { table, failure, alsoAt, mayWrap } = automaton;
  // Breadth first, so a state's failure link, which is less deep, is complete before the state itself.
  for (let state = 0; state < states; state++) {
    const link = failure[state] ?? 0;
    if (state > 0) {
      alsoAt[state] = nextToLookAt(automaton, state, link);
      mayWrap[state] = Number((trie.wrappableAt[state] ?? -1) >= 0 || mayWrap[link] === 1);
    }
    if (state > 0 && state < denseStates) table.copyWithin(state * width, link * width, (link + 1) * width);
    for (let child = childStart[state] ?? 0; child < (childStart[state + 1] ?? 0); child++) {
      const label = labels[child] ?? 0;
      failure[child] = (depth[state] ?? 0) === 0 ? 0 : followPlain(automaton, link, label);
      if (state < denseStates) table[state * width + (columns[label] ?? 0)] = child;
    }
  }
  markTransitions(automaton, patternAt);
  return automaton;
}

/** The state after `byte` where something may happen (a sparse state, a pattern's end), or a dense state. Not for line ends. */
export function follow(automaton: Automaton, from: number, byte: number): number {
  const { denseStates, failure, table, width, columns } = automaton;
  let state = from;
  while (state >= denseStates) {
    const child = childOf(automaton, state, byte);
    if (child !== 0) return child;
    state = failure[state] ?? 0;
  }
  const entry = table[state * width + (columns[byte] ?? 0)] ?? 0;
  return entry < 0 ? ~entry : entry / width;
}

/** The child of a state along `byte`, or 0. */
export function childOf(automaton: Automaton, state: number, byte: number): number {
  const { childStart, labels } = automaton;
  const end = childStart[state + 1] ?? 0;
  for (let child = childStart[state] ?? 0; child < end; child++) if (labels[child] === byte) return child;
  return 0;
}

/** {@link follow} while the table still holds plain state numbers. */
function followPlain(automaton: Automaton, from: number, byte: number): number {
  let state = from;
  while (state >= automaton.denseStates) {
    const child = childOf(automaton, state, byte);
    if (child !== 0) return child;
    state = automaton.failure[state] ?? 0;
  }
  return automaton.table[state * automaton.width + (automaton.columns[byte] ?? 0)] ?? 0;
}

/**
 * Of the patterns that end at one place the longest is enough, except for those of which something may follow or
 * which may turn out to be no whole word.
 */
function nextToLookAt(automaton: Automaton, state: number, link: number): number {
  const { patterns, patternAt, alsoAt } = automaton;
  const own = patterns[patternAt[state] ?? -1];
  const enough = own !== undefined && !own.wholeWord;
  let next = (patternAt[link] ?? -1) >= 0 ? link : (alsoAt[link] ?? 0);
  while (enough && next !== 0) {
    const other = patterns[patternAt[next] ?? -1];
    if (other && !other.wholeWord && (other.alphabet === 'base64' || other.unindexedBytes > 0)) break;
    next = alsoAt[next] ?? 0;
  }
  return next;
}

function markTransitions(automaton: Automaton, patternAt: Int32Array): void {
  const { table, alsoAt, denseStates, width, columns, mayWrap, states } = automaton;
  for (let index = 0; index < table.length; index++) {
    const target = table[index] ?? 0;
    const eventful = target >= denseStates || (patternAt[target] ?? -1) >= 0 || (alsoAt[target] ?? 0) !== 0;
    table[index] = eventful ? ~target : target * width;
  }
  for (let state = 0; state < denseStates; state++) {
    if (mayWrap[state] !== 1) continue;
    for (const lineEnd of lineEnds) table[state * width + (columns[lineEnd] ?? 0)] = ~(states + state);
  }
}

const lineEnds = [0x0a, 0x0d];

function chooseColumns(patterns: readonly Pattern[]): { columns: Uint8Array; width: number } {
  const used = new Uint8Array(256);
  for (const byte of lineEnds) used[byte] = 1;
  for (const pattern of patterns) for (const byte of pattern.bytes) used[byte] = 1;
  const columns = new Uint8Array(256);
  // Column 0 is for bytes that no pattern holds; with all 256 in use there are none, and it serves byte 0.
  let width = used.every((flag) => flag === 1) ? 0 : 1;
  for (let byte = 0; byte < 256; byte++) if (used[byte] === 1) columns[byte] = width++;
  return { columns, width };
}

function leadBytesOf(patterns: readonly Pattern[]): Uint8Array {
  const flags = new Uint8Array(256);
  for (const pattern of patterns) for (const byte of pattern.leadBytes) flags[byte] = 1;
  return flags;
}
