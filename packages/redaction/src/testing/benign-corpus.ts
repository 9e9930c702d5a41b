import { createRandom, type Random } from './random.ts';

const words =
  'the build of package server client index test value result error warning info user password token secret file path line ' +
  'request response status config default option install download cache layer image step running finished passed failed ' +
  'const function return import export from await async class interface string number boolean undefined null true false';
const vocabulary = words.split(' ');

/** Kinds of text that jobs print; each makes a block of some hundred bytes. */
const blocks: readonly ((random: Random) => string)[] = [
  logLines,
  sourceCode,
  base64Blob,
  hexDump,
  jsonLine,
  urls,
];

/**
 * Text without secrets, the same for the same arguments: logs, source code, base64 blobs, hex dumps, JSON, URLs.
 * @param bytes how much, exactly
 */
export function benignCorpus(bytes: number, seed = 1): Buffer {
  const random = createRandom(seed);
  const corpus = Buffer.alloc(bytes);
  // Making all of it anew would take longer than reading it; each repetition begins at another byte.
  const fresh = Math.min(bytes, 8 * 1024 * 1024);
  let length = 0;
  while (length < fresh) length += corpus.write(random.pick(blocks)(random), length, 'latin1');
  while (length < bytes) length += corpus.copy(corpus, length, length % 1021, fresh);
  return corpus;
}

function logLines(random: Random): string {
  return lines(6, () => {
    const time = new Date(1_700_000_000_000 + random.below(1e10)).toISOString();
    return `${time} [${random.pick(vocabulary)}] ${sentence(random, 10)} in ${random.below(5000)}ms`;
  });
}

function sourceCode(random: Random): string {
  const name = () => `${random.pick(vocabulary)}${random.below(100)}`;
  return (
    `export async function ${name()}(${name()}: string, ${name()} = ${random.below(1000)}): Promise<void> {\n` +
    lines(
      5,
      () => `  const ${name()} = await ${name()}.${name()}({ ${name()}: '${sentence(random, 3)}' });`,
    ) +
    '  return;\n}\n\n'
  );
}

function base64Blob(random: Random): string {
  return `${random.bytes(600).toString('base64').replace(/.{76}/g, '$&\n')}\n`;
}

function hexDump(random: Random): string {
  return lines(12, (index) => {
    const bytes = random.bytes(16);
    const pairs = bytes.toString('hex').replace(/..../g, '$& ');
    return `${(index * 16).toString(16).padStart(8, '0')}: ${pairs} ${bytes.toString('latin1').replace(/[^ -~]/g, '.')}`;
  });
}

function jsonLine(random: Random): string {
  const fields = Array.from({ length: 6 }, () => [random.pick(vocabulary), sentence(random, 4)]);
  return `${JSON.stringify({ ...Object.fromEntries(fields), id: random.bytes(16).toString('hex') })}\n`;
}

function urls(random: Random): string {
  return lines(
    4,
    () =>
      `GET https://example.com/${random.pick(vocabulary)}/${random.below(1e6)}?q=${encodeURIComponent(sentence(random, 3))}`,
  );
}

function sentence(random: Random, count: number): string {
  return Array.from({ length: count }, () => random.pick(vocabulary)).join(' ');
}

function lines(count: number, make: (index: number) => string): string {
  return Array.from({ length: count }, (_, index) => `${make(index)}\n`).join('');
}
