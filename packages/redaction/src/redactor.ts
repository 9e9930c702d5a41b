import { type Automaton, buildAutomaton } from './automaton.ts';
import { patternsOfSecrets } from './patterns.ts';
import { passThrough, type RedactionStream, redactionStream } from './stream.ts';

/** Replaces secrets in text and byte streams. Holds no state of its own: one redactor serves any number of streams. */
export interface Redactor {
  /** A new stream, for one source of bytes (one output of one command). */
  stream(): RedactionStream;
  /** Redacts a complete text: an argument of a command, a failure message, a line of a log. */
  redactText(text: string): string;
}

/**
 * Makes a redactor of secret values and what stands in their place. All values are matched at once, raw and in the
 * encodings of {@link patternsOfSecrets}; the longest match wins and overlapping matches become one replacement.
 * A replacement in which a secret could be read (a secret `FOO` named `secrets.FOO`) gives way to a neutral one.
 *
 * Memory: at most 8 MiB for the hot part of the automaton and about 20 bytes for each of at most 2^20 indexed bytes
 * (more only past 65536 patterns), however long and many the values are. See automaton.ts.
 */
export function createRedactor(secrets: ReadonlyMap<string, string>): Redactor {
  const patterns = patternsOfSecrets([...secrets.keys()]);
  if (patterns.length === 0) return { stream: passThrough, redactText: (text) => text };
  const automaton = buildAutomaton(patterns);
  const replacements = safeReplacements([...secrets.values()], automaton);
  const stream = () => redactionStream(automaton, replacements);
  return { stream, redactText: (text) => redactWhole(text, stream()) };
}

function redactWhole(text: string, stream: RedactionStream): string {
  const bytes = Buffer.from(text, 'utf8');
  const output = Buffer.concat([stream.write(bytes), stream.flush()]);
  return output.equals(bytes) ? text : output.toString('utf8');
}

/** Tried in order; the last one cannot contain a secret. */
const neutralReplacements = ['[redacted]', '******', '------', ''];

function safeReplacements(wanted: readonly string[], automaton: Automaton): Uint8Array[] {
  const marks = wanted.map(() => Buffer.from('\0'));
  const revealsNothing = (text: string) => redactWhole(text, redactionStream(automaton, marks)) === text;
  const neutral = neutralReplacements.find(revealsNothing) ?? '';
  return wanted.map((text) => Buffer.from(revealsNothing(text) ? text : neutral, 'utf8'));
}
