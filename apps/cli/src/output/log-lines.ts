/** A line of a log entry's output. `stream` is undefined for a line without the prefix that executors write. */
export interface LogLine {
  stream: 'stdout' | 'stderr' | undefined;
  text: string;
}

/** A longer line is shown in pieces: a job may write without ever ending a line. */
const maxLineBytes = 64 * 1024;
const newline = 0x0a;

/**
 * Cuts the output of one log entry, which comes in pieces at byte offsets, into lines. Bytes that were seen already are
 * passed over; bytes that are missing (an instance drops output past its limit) are reported to `onGap`.
 */
export class LogLines {
  readonly #onLine: (line: LogLine) => void;
  readonly #onGap: (missingBytes: number) => void;
  #offset = 0;
  #partial: Uint8Array[] = [];
  #partialBytes = 0;
  #stream: LogLine['stream'];
  #continues = false;

  constructor(onLine: (line: LogLine) => void, onGap: (missingBytes: number) => void) {
    this.#onLine = onLine;
    this.#onGap = onGap;
  }

  write(offset: number, bytes: Uint8Array): void {
    if (offset > this.#offset) {
      this.end();
      this.#onGap(offset - this.#offset);
      this.#offset = offset;
    }
    let rest = bytes.subarray(this.#offset - offset);
    this.#offset += rest.length;
    while (rest.length > 0) {
      const end = rest.subarray(0, maxLineBytes - this.#partialBytes).indexOf(newline);
      if (end >= 0) {
        this.#take(rest.subarray(0, end));
        this.#flush(false);
        rest = rest.subarray(end + 1);
      } else {
        const piece = rest.subarray(0, maxLineBytes - this.#partialBytes);
        this.#take(piece);
        rest = rest.subarray(piece.length);
        if (this.#partialBytes >= maxLineBytes) this.#flush(true);
      }
    }
  }

  /** Shows a last line that has no newline. */
  end(): void {
    if (this.#partialBytes > 0) this.#flush(false);
    this.#continues = false;
  }

  #take(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    // Copied: the caller's buffer may be a view on something larger or reused.
    this.#partial.push(bytes.slice());
    this.#partialBytes += bytes.length;
  }

  #flush(continues: boolean): void {
    const line = new TextDecoder().decode(Buffer.concat(this.#partial));
    this.#partial = [];
    this.#partialBytes = 0;
    if (this.#continues) {
      this.#onLine({ stream: this.#stream, text: line });
    } else {
      const match = /^(stdout|stderr): ?/.exec(line);
      this.#stream = match?.[1] as LogLine['stream'];
      this.#onLine({ stream: this.#stream, text: line.slice(match?.[0].length ?? 0) });
    }
    this.#continues = continues;
  }
}
