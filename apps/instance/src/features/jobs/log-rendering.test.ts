import { setTimeout as delay } from 'node:timers/promises';
import type { LogEntryView, LogEvent } from '@kiln/protocol';
import { describe, expect, test } from 'vitest';
import { renderEventStream } from './event-stream.ts';
import { renderLogText } from './log-text.ts';

const begun: LogEntryView = {
  attempt: 1,
  entry: 1,
  key: 'step.docker.0',
  command: ['sh', '-c', 'echo "a b"'],
  startedAt: '2026-01-01T00:00:00.000Z',
  exitCode: null,
  durationMs: null,
  bytes: 0,
};
const job = { attempt: 1, executor: 'host-1', failureMessage: null, waiting: null };

function output(text: string, entry = begun): LogEvent {
  const data = {
    attempt: entry.attempt,
    entry: entry.entry,
    offset: 0,
    data: Buffer.from(text).toString('base64'),
  };
  return { event: 'output', data };
}

async function* eventsOf(events: LogEvent[]) {
  for (const [index, event] of events.entries()) yield { id: `c${index}`, event };
}

async function textOf(events: LogEvent[]): Promise<string> {
  return Buffer.concat(await Array.fromAsync(renderLogText(eventsOf(events)))).toString();
}

describe('renderLogText', () => {
  test('shows commands, output and ends, and how the job ended', async () => {
    const text = await textOf([
      { event: 'job', data: { ...job, state: 'processing' } },
      { event: 'entry', data: begun },
      output('stdout: a b\nstdout: no newline'),
      { event: 'entry', data: { ...begun, exitCode: 3, durationMs: 1234 } },
      { event: 'job', data: { ...job, state: 'failed', failureMessage: 'step 0 failed' } },
      { event: 'end', data: { state: 'failed' } },
    ]);
    expect(text).toBe(`[step.docker.0] $ sh -c "echo \\"a b\\""
stdout: a b
stdout: no newline
[step.docker.0] exit code 3 after 1.2 s
[job] failed: step 0 failed
`);
  });

  test('separates attempts, and passes bytes on as they are', async () => {
    const again = { ...begun, attempt: 2 };
    const bytes = Buffer.from([0xff, 0xfe, 0x0a]);
    const event: LogEvent = {
      event: 'output',
      data: { attempt: 2, entry: 1, offset: 0, data: bytes.toString('base64') },
    };
    const pieces = await Array.fromAsync(
      renderLogText(eventsOf([{ event: 'entry', data: begun }, { event: 'entry', data: again }, event])),
    );
    expect(pieces.at(-1)).toEqual(bytes);
    expect(pieces.join('')).toContain('\n[attempt 2]\n[step.docker.0] $ sh');
  });
});

describe('renderEventStream', () => {
  test('writes events with their cursors, and comments while nothing happens', async () => {
    async function* events() {
      yield { id: '1.1.0.0', event: output('two\nlines') };
      await delay(120);
      yield { id: '1.1.9.0', event: { event: 'end', data: { state: 'completed' } } as LogEvent };
    }
    const pieces = await Array.fromAsync(renderEventStream(events(), 50));
    expect(pieces[0]).toBe(': connected\n\n');
    expect(pieces[1]).toBe(
      'id: 1.1.0.0\nevent: output\ndata: {"attempt":1,"entry":1,"offset":0,"data":"dHdvCmxpbmVz"}\n\n',
    );
    expect(pieces.slice(2, -1)).toEqual([': waiting\n\n', ': waiting\n\n']);
    expect(pieces.at(-1)).toBe('id: 1.1.9.0\nevent: end\ndata: {"state":"completed"}\n\n');
  });

  test('ends the following when its reader leaves', async () => {
    let ended = false;
    async function* events() {
      try {
        yield { id: '', event: output('x') };
        yield { id: '', event: output('y') };
      } finally {
        ended = true;
      }
    }
    const pieces = renderEventStream(events());
    await pieces.next();
    await pieces.next();
    await pieces.return(undefined);
    expect(ended).toBe(true);
  });
});
