import type { FollowedEvent } from '../../logs/index.ts';

/** Proxies close connections on which nothing moves for 30 or 60 s. */
const commentSeconds = 15;

/** Events in the form of server-sent events, with a comment each 15 s in which there are none. */
export async function* renderEventStream(
  events: AsyncIterable<FollowedEvent>,
  commentMs = commentSeconds * 1000,
): AsyncGenerator<string> {
  const iterator = events[Symbol.asyncIterator]();
  try {
    // At once, so that a client whose job has nothing to say yet knows that it is connected.
    yield ': connected\n\n';
    let next = iterator.next();
    for (;;) {
      const result = await orAfter(next, commentMs);
      if (result === 'late') {
        yield ': waiting\n\n';
        continue;
      }
      if (result.done) return;
      const { id, event } = result.value;
      yield `id: ${id}\nevent: ${event.event}\ndata: ${JSON.stringify(event.data)}\n\n`;
      next = iterator.next();
    }
  } finally {
    await iterator.return?.();
  }
}

async function orAfter<Value>(promise: Promise<Value>, ms: number): Promise<Value | 'late'> {
  const { promise: late, resolve } = Promise.withResolvers<'late'>();
  const timer = setTimeout(resolve, ms, 'late');
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
