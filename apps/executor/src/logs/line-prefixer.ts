export type StreamName = 'stdout' | 'stderr';

/**
 * Turns the output of a command into the protocol's form: each line with `stdout: ` or `stderr: ` before it, without a
 * trailing carriage return (from the reference). Bytes are kept as they are, valid UTF-8 or not.
 */
export interface LinePrefixer {
  /** Takes bytes as they come; returns what can be shown now: whole lines, or pieces of very long ones. */
  write(stream: StreamName, bytes: Uint8Array): Uint8Array;
  /** The command has ended: returns the unfinished lines too. */
  end(): Uint8Array;
}

const prefixes: Readonly<Record<StreamName, Uint8Array>> = {
  stdout: Buffer.from('stdout: '),
  stderr: Buffer.from('stderr: '),
};
const lineFeed = 10;
const carriageReturn = 13;
const newline = Buffer.from('\n');
const nothing = Buffer.alloc(0);

/**
 * @param maxHeldBytes how much of an unfinished line waits for its end. A longer line is passed on in pieces, and holds
 *   back the other stream meanwhile, by at most as much again; past that it is cut by a line break, because a command
 *   that waits for its other output to be read would never end the line.
 */
export function createLinePrefixer(maxHeldBytes = 2 ** 20): LinePrefixer {
  const held: Record<StreamName, HeldBytes> = { stdout: heldBytes(), stderr: heldBytes() };
  /** The stream whose line has been begun in the output and not ended. */
  let open: StreamName | undefined;

  function write(stream: StreamName, bytes: Uint8Array): Uint8Array {
    const output: Uint8Array[] = [];
    const other = otherThan(stream);
    if (open === other) {
      held[stream].add(bytes);
      if (held[stream].length <= maxHeldBytes) return nothing;
      output.push(newline);
      open = undefined;
      splitLines(stream, held[stream].take(), output);
    } else {
      splitLines(stream, bytes, output);
    }
    passOnLongLine(stream, output);
    if (open === undefined && held[other].holdsLines) {
      splitLines(other, held[other].take(), output);
      passOnLongLine(other, output);
    }
    return output.length === 0 ? nothing : Buffer.concat(output);
  }

  function splitLines(stream: StreamName, bytes: Uint8Array, output: Uint8Array[]): void {
    let start = 0;
    for (let at = bytes.indexOf(lineFeed); at >= 0; at = bytes.indexOf(lineFeed, start)) {
      if (open !== stream) output.push(prefixes[stream]);
      open = undefined;
      let line = bytes.subarray(start, at);
      if (held[stream].length > 0) {
        held[stream].add(line);
        line = held[stream].take();
      }
      output.push(withoutReturn(line), newline);
      start = at + 1;
    }
    if (start < bytes.length) held[stream].add(bytes.subarray(start));
  }

  function passOnLongLine(stream: StreamName, output: Uint8Array[]): void {
    if (held[stream].length <= maxHeldBytes || (open !== undefined && open !== stream)) return;
    const piece = held[stream].take();
    if (open !== stream) output.push(prefixes[stream]);
    open = stream;
    const shown = withoutReturn(piece);
    output.push(shown);
    if (shown.length < piece.length) held[stream].add(piece.subarray(shown.length));
  }

  return {
    write,
    end() {
      const output: Uint8Array[] = [];
      const first = open ?? 'stdout';
      for (const stream of [first, otherThan(first)]) {
        splitLines(stream, held[stream].take(), output);
        const rest = held[stream].take();
        if (rest.length > 0 && open !== stream) output.push(prefixes[stream]);
        if (rest.length > 0 || open === stream) output.push(withoutReturn(rest), newline);
        open = undefined;
      }
      return output.length === 0 ? nothing : Buffer.concat(output);
    },
  };
}

function otherThan(stream: StreamName): StreamName {
  return stream === 'stdout' ? 'stderr' : 'stdout';
}

function withoutReturn(line: Uint8Array): Uint8Array {
  return line[line.length - 1] === carriageReturn ? line.subarray(0, -1) : line;
}

interface HeldBytes {
  readonly length: number;
  /** Whether a whole line is among them. */
  readonly holdsLines: boolean;
  add(bytes: Uint8Array): void;
  take(): Uint8Array;
}

/** Joined only when taken: joining at each addition would cost the square of a long line written byte by byte. */
function heldBytes(): HeldBytes {
  let parts: Uint8Array[] = [];
  let length = 0;
  let holdsLines = false;
  return {
    get length() {
      return length;
    },
    get holdsLines() {
      return holdsLines;
    },
    add(bytes) {
      if (bytes.length === 0) return;
      // A copy: the caller may reuse its buffer, and a small piece must not keep a large one alive.
      parts.push(Uint8Array.from(bytes));
      length += bytes.length;
      holdsLines ||= bytes.includes(lineFeed);
    },
    take() {
      const joined = parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
      parts = [];
      length = 0;
      holdsLines = false;
      return joined;
    },
  };
}
