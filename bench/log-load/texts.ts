import type { BenchJob } from '../site/jobs.ts';

/** A step that writes so many megabytes of lines to its stdout, the same ones each time. */
export type Text = (megabytes: number) => Pick<BenchJob, 'files'> & { run: string };

/** Compilers, test runners, downloads and a server under test: much repetition, some numbers, some hashes. */
export const textLikeBuildLogs: Text = (megabytes) => repeated(megabytes, buildLine);

/** Nothing repeats within the reach of a compressor: the worst that text can be. */
export const randomLines: Text = (megabytes) => repeated(megabytes, randomLine);

export const blockBytes = 1_000_000;

/** One block over and over: as fast as a pipe takes it, and no chunk that is sent is longer than a block. */
function repeated(megabytes: number, line: string): ReturnType<Text> {
  return {
    run: `awk -v bytes=${blockBytes} -f write-block.awk > block
written=0
while [ $written -lt ${megabytes} ]; do
  cat block
  written=$((written + 1))
done`,
    files: { 'write-block.awk': program(line) },
  };
}

/** Written here instead of awk's rand(), which each awk has its own of. */
const program = (line: string): string => `
function random(below) { seed = (seed * 16807) % 2147483647; return int(seed / 2147483647 * below) }
function hex() { return sprintf("%06x%06x", random(16777216), random(16777216)) }
function word() { return words[random(wordCount) + 1] }
${line}
BEGIN {
  seed = 20240229
  wordCount = split("storage engine page cache index query planner lexer parser buffer socket session router handler widget table column render layout style config loader plugin schema migration queue worker lease token cursor", words, " ")
  alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
  for (first = 0; first < 64; first++) for (second = 0; second < 64; second++)
    pairs[first * 64 + second] = substr(alphabet, first + 1, 1) substr(alphabet, second + 1, 1)
  while (written < bytes) {
    line = substr(nextLine(), 1, bytes - written - 1)
    written += length(line) + 1
    print line
  }
}
`;

const buildLine = `
function nextLine(  kind, name) {
  kind = random(16); name = word() "_" word()
  if (kind < 5) return sprintf("[%3d%%] Building CXX object src/%s/CMakeFiles/%s.dir/%s.cc.o", written / bytes * 100, word(), word(), name)
  if (kind < 8) return sprintf("  PASS  tests/%s/%s.test.ts (%d.%03d s)", word(), name, random(9), random(1000))
  if (kind < 10) return sprintf("2026-03-01T%02d:%02d:%02d.%03dZ INFO  %s request=%s path=/api/%s/%d status=200 duration=%dms", random(24), random(60), random(60), random(1000), word(), hex(), word(), random(100000), random(900))
  if (kind < 12) return sprintf("src/%s/%s.cc:%d:%d: warning: unused variable '%s_%d' [-Wunused-variable]", word(), name, random(2000), random(80), word(), random(100))
  if (kind < 14) return sprintf("downloaded %s-%d.%d.%d.tgz %d kB sha256:%s%s", name, random(20), random(40), random(10), random(4000), hex(), hex())
  if (kind < 15) return sprintf("    at Object.%s (src/%s/%s.tsx:%d:%d)", word(), word(), name, random(900), random(100))
  return "make[2]: Entering directory '/data/build/" word() "/" word() "'"
}`;

const randomLine = `
function nextLine(  at, line) {
  line = ""
  for (at = 0; at < 40; at++) line = line pairs[random(4096)]
  return line
}`;
