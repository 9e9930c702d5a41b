import type { LogEntryView, LogEvent } from '@kiln/protocol';

/**
 * A log for reading, piece by piece, from the events of a followed log. Each entry begins with a line
 * `[key] $ command` and ends with `[key] exit code 0 after 1.2 s`; in between its output as logged, with the prefixes
 * `stdout: ` and `stderr: `. The last line says how the job ended.
 */
export async function* renderLogText(events: AsyncIterable<{ event: LogEvent }>): AsyncGenerator<Buffer> {
  let attempt = 0;
  let atLineStart = true;
  let outcome = '';
  /** Entries begin and end by the same event; the second one has the exit code. */
  const begun = new Set<string>();

  function line(text: string): Buffer {
    const newline = atLineStart ? '' : '\n';
    atLineStart = true;
    return Buffer.from(`${newline}${text}\n`);
  }

  for await (const { event } of events) {
    if (event.event === 'job') {
      outcome = event.data.failureMessage === null ? '' : `: ${event.data.failureMessage}`;
    } else if (event.event === 'entry') {
      const { data } = event;
      const name = `${data.attempt}.${data.entry}`;
      if (begun.has(name)) {
        yield line(endLine(data));
        continue;
      }
      begun.add(name);
      if (data.attempt !== attempt && attempt !== 0) yield line(`[attempt ${data.attempt}]`);
      attempt = data.attempt;
      yield line(`[${data.key}] $ ${data.command.map(shown).join(' ')}`);
    } else if (event.event === 'output') {
      const bytes = Buffer.from(event.data.data, 'base64');
      if (bytes.length === 0) continue;
      atLineStart = bytes.at(-1) === 0x0a;
      yield bytes;
    } else {
      yield line(`[job] ${event.data.state}${outcome}`);
    }
  }
}

function endLine({ key, exitCode, durationMs }: LogEntryView): string {
  const duration = durationMs === null ? '' : ` after ${(durationMs / 1000).toFixed(1)} s`;
  return `[${key}] ${exitCode === null ? 'ended' : `exit code ${exitCode}`}${duration}`;
}

/** An argument so that its end is seen and it stays on the line. */
function shown(argument: string): string {
  return /^[\w@%+=:,./-]+$/.test(argument) ? argument : JSON.stringify(argument);
}
