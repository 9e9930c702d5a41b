/** How long somebody who may not see a job any more goes on receiving what it logs, at most. */
const seconds = 15;

/**
 * What is added to a log, for as long as its reader sees the job: a follower may be connected for hours, and meanwhile
 * leave the organization or lose the access token. Asked before something is passed on, not for each of many pieces.
 */
export async function* whileSeen<Event>(
  events: AsyncIterable<Event>,
  isSeen: () => Promise<boolean>,
): AsyncGenerator<Event> {
  let askedAt = performance.now();
  for await (const event of events) {
    const now = performance.now();
    if (now - askedAt >= seconds * 1000) {
      if (!(await isSeen())) return;
      askedAt = now;
    }
    yield event;
  }
}
