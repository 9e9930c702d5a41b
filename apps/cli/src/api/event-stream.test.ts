import fc from 'fast-check';
import { expect, it } from 'vitest';
import { readEvents, type StreamEvent } from './event-stream.ts';

async function read(chunks: Uint8Array[]): Promise<StreamEvent[]> {
  const events: StreamEvent[] = [];
  for await (const event of readEvents(
    (async function* () {
      yield* chunks;
    })(),
  )) {
    events.push(event);
  }
  return events;
}

it('reads fields, comments, ids that last, and data of several lines', async () => {
  const text =
    ': hello\n\nevent: a\nid: 1\ndata: x\ndata:  y\n\ndata:z\r\n\r\nid: 2\rdata\r\rretry: 5\nother: 1\n\ndata: unfinished';
  expect(await read([Buffer.from(text)])).toEqual([
    { event: 'a', data: 'x\n y', id: '1' },
    { event: 'message', data: 'z', id: '1' },
    { event: 'message', data: '', id: '2' },
  ]);
});

it('gives the same events however the bytes are cut, with any line ends', async () => {
  const anEvent = fc.record({
    id: fc.stringMatching(/^[0-9a-z]{1,5}$/),
    data: fc.string({ unit: 'grapheme', maxLength: 10 }).map((text) => text.replace(/[\r\n]/g, '')),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(anEvent, { maxLength: 5 }),
      fc.constantFrom('\n', '\r\n', '\r'),
      fc.integer({ min: 1, max: 7 }),
      async (events, lineEnd, chunkBytes) => {
        const lines = events.flatMap(({ id, data }) => [`id: ${id}`, 'event: e', `data: ${data}`, '']);
        const bytes = Buffer.from(lines.map((line) => line + lineEnd).join(''));
        const chunks: Uint8Array[] = [];
        for (let at = 0; at < bytes.length; at += chunkBytes)
          chunks.push(bytes.subarray(at, at + chunkBytes));
        expect(await read(chunks)).toEqual(events.map(({ id, data }) => ({ event: 'e', data, id })));
      },
    ),
  );
});
