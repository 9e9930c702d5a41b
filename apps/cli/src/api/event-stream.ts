/** One event of a `text/event-stream`. */
export interface StreamEvent {
  event: string;
  data: string;
  /** The last id sent so far; what `Last-Event-ID` must say to go on after this event. */
  id: string;
}

/** Past this an event is refused, so that a broken peer cannot fill the memory. */
const maxEventCharacters = 16 * 1024 * 1024;

/** Reads server-sent events as the HTML standard defines them; comments end here. An unfinished last event is dropped. */
export async function* readEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<StreamEvent> {
  let event = '';
  let data: string[] = [];
  let size = 0;
  let id = '';
  for await (const line of readLines(body)) {
    if (line === '') {
      if (data.length > 0) yield { event: event || 'message', data: data.join('\n'), id };
      event = '';
      data = [];
      size = 0;
      continue;
    }
    const colon = line.indexOf(':');
    if (colon === 0) continue;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') event = value;
    else if (field === 'id' && !value.includes('\0')) id = value;
    else if (field === 'data') {
      size += value.length;
      if (size > maxEventCharacters) throw new Error('an event of the stream is too large');
      data.push(value);
    }
  }
}

/** Lines that end with LF, CRLF or CR. */
async function* readLines(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of body) {
    rest += decoder.decode(chunk, { stream: true });
    // A CR at the end may be half of a CRLF: wait for what follows.
    const lines = rest.split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? '';
    if (rest.length > maxEventCharacters) throw new Error('a line of the stream is too large');
    yield* lines;
  }
  if (rest.endsWith('\r')) yield rest.slice(0, -1);
}
