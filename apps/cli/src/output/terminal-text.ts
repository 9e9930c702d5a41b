/**
 * Makes text that others wrote (a job's output, a failure message, a repository's name) safe to print: whatever
 * it holds, a terminal does nothing with it but show it. Cursor movement, titles, clipboard writes, hyperlinks and
 * every other control sequence are removed; colours (SGR) stay where `colours` is true; remaining control characters
 * become their visible pictures. Newlines and tabs stay, a lone carriage return becomes a newline.
 *
 * An unfinished sequence ends at the end of its line, so that no output can hide what comes after it.
 */
export function terminalText(text: string, colours: boolean): string {
  return text
    .replaceAll('\r\n', '\n')
    .replaceAll('\r', '\n')
    .replace(controls, (match) => (colours && sgr.test(match) ? match : picture(match)));
}

/** As {@link terminalText}, on one line: for table cells and headings. */
export function oneLine(text: string): string {
  return terminalText(text, false).replace(/\s*[\n\t]\s*/g, ' ');
}

// ESC [ or its one-character form: parameters, intermediates, final byte. ESC ] P X ^ _ (and their one-character forms):
// a string that ends with BEL or ESC \. Any other ESC: intermediates and a final byte. All of them stop at a newline.
// And every other control character but newline and tab, and what turns the direction of text around: it can make a
// command read as another one.
const controls =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what this file is about
  /(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\n\x07\x1b\x9c]*(?:\x07|\x9c|\x1b\\)?|\x1b[ -/]*[0-~]?|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the one kind of sequence that is let through
const sgr = /^\x1b\[[0-9;:]{0,64}m$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: what control sequences begin with
const introducer = /^[\x1b\x90\x98\x9b\x9d\x9e\x9f]/;

function picture(match: string): string {
  if (introducer.test(match)) return '';
  const code = match.charCodeAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  return code === 0x7f ? '\u2421' : '\ufffd';
}
