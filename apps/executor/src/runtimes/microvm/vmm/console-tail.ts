import type { Readable } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';

const keptBytes = 12 * 1024;
/** A guest that floods its console is read no faster: its own output waits then, and nothing else does. */
const mostBytesPerSecond = 1024 * 1024;

/** Keeps the end of what a console shows, at a bounded cost whatever the guest writes. */
export function captureConsole(source: Readable): { tail(): string } {
  let kept: Buffer = Buffer.alloc(0);
  let bytesThisSecond = 0;
  let second = 0;
  source.on('data', (bytes: Buffer) => {
    kept = Buffer.concat([kept, bytes]).subarray(-keptBytes);
    const now = Math.floor(performance.now() / 1000);
    if (now !== second) {
      second = now;
      bytesThisSecond = 0;
    }
    bytesThisSecond += bytes.length;
    if (bytesThisSecond < mostBytesPerSecond) return;
    source.pause();
    setTimeout(() => source.resume(), 1000).unref();
  });
  // The process's end tells more than its broken pipe.
  source.on('error', () => undefined);
  return { tail: () => printable(kept.toString('utf8')) };
}

/** For messages: what a VM's console showed last. */
export function consoleText(vm: { consoleTail(): string }): string {
  const tail = vm.consoleTail();
  return tail === '' ? '; its console stayed empty' : `; the end of its console:\n${tail}\n`;
}

/** Shown to people: nothing that a terminal obeys, no empty lines. */
function printable(text: string): string {
  return stripVTControlCharacters(text)
    .replace(/[^\P{C}\n\t]/gu, '')
    .replace(/\n\s*\n+/g, '\n')
    .trim();
}
