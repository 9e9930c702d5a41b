import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PassThrough } from 'node:stream';
import type { JobView, LogEvent } from '@kiln/protocol';
import type { Invocation } from '../invocation.ts';
import { run } from '../program.ts';

type Answer = (request: IncomingMessage & { text: string }, response: ServerResponse) => void;

/** An HTTP server that answers as each test says, and records what it was asked. */
export interface ScriptedInstance extends AsyncDisposable {
  url: string;
  /** `GET /path` of each request, in order. */
  requests: string[];
  bodies: unknown[];
  headers: IncomingMessage['headers'][];
}

/** @param answers by method and path without the query, such as `POST /.api/jobs` */
export async function scriptedInstance(answers: Record<string, Answer | object>): Promise<ScriptedInstance> {
  const requests: string[] = [];
  const bodies: unknown[] = [];
  const headers: IncomingMessage['headers'][] = [];
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += String(chunk);
    requests.push(`${request.method} ${request.url}`);
    bodies.push(text === '' ? undefined : JSON.parse(text));
    headers.push(request.headers);
    const answer = answers[`${request.method} ${request.url?.split('?')[0]}`];
    if (typeof answer === 'function') (answer as Answer)(Object.assign(request, { text }), response);
    else if (answer) response.setHeader('content-type', 'application/json').end(JSON.stringify(answer));
    else refuse(response, 404, { code: 'not_found', message: `no ${request.url}` });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    bodies,
    headers,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export function refuse(
  response: ServerResponse,
  status: number,
  error: { code: string; message: string; hint?: string },
): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ error }));
}

export function sendEvents(response: ServerResponse, events: LogEvent[], firstId = 1): void {
  response.setHeader('content-type', 'text/event-stream');
  for (const [index, { event, data }] of events.entries()) {
    response.write(`id: ${firstId + index}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  }
}

/** Runs the program as a shell would, without terminal. */
export async function kiln(
  args: string[],
  options: {
    url?: string;
    env?: Invocation['env'];
    cwd?: string;
    stdin?: string;
    interrupted?: AbortSignal;
  } = {},
): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const stdout = collect();
  const stderr = collect();
  const stdin = new PassThrough();
  stdin.end(options.stdin ?? '');
  const exitCode = await run({
    args,
    env: {
      KILN_TOKEN: 'secret-of-the-test',
      ...(options.url ? { KILN_URL: options.url } : {}),
      ...options.env,
    },
    cwd: options.cwd ?? '/nonexistent',
    stdin,
    stdout: stdout.stream,
    stderr: stderr.stream,
    interrupted: options.interrupted ?? new AbortController().signal,
  });
  return { exitCode, stdout: stdout.text(), stderr: stderr.text() };
}

function collect(): { stream: PassThrough; text: () => string } {
  const chunks: Buffer[] = [];
  const stream = new PassThrough();
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  return { stream, text: () => Buffer.concat(chunks).toString('utf8') };
}

export function jobView(overrides: Partial<JobView> = {}): JobView {
  return {
    id: 7,
    queue: 'jobs',
    namespace: 'admin',
    state: 'queued',
    failureKind: null,
    failureMessage: null,
    cancelRequested: false,
    priority: 0,
    attempt: 0,
    repository: null,
    revision: null,
    commit: null,
    executor: null,
    queuedAt: '2026-01-01T00:00:00.000Z',
    startedAt: null,
    finishedAt: null,
    waiting: null,
    attempts: [],
    isolation: null,
    timeoutSeconds: 1800,
    network: null,
    steps: [
      {
        key: '0',
        image: 'busybox',
        run: 'echo hello',
        dir: '',
        state: 'waiting',
        exitCode: null,
        startedAt: null,
        durationMs: null,
      },
    ],
    logEntries: [],
    usage: [],
    notices: [],
    ...overrides,
  };
}

/** The events of a job with one setup command and one step that printed `lines`. */
export function jobEvents(
  lines: string,
  outcome: { exitCode: number; state: 'completed' | 'failed' | 'canceled' },
): LogEvent[] {
  const entry = (number: number, key: string, exitCode: number | null, command: string[]) => ({
    attempt: 1,
    entry: number,
    key,
    command,
    startedAt: '2026-01-01T00:00:00.000Z',
    exitCode,
    durationMs: exitCode === null ? null : 1234,
    bytes: 0,
  });
  const state = { attempt: 1, executor: 'host-1', failureMessage: null, waiting: null };
  return [
    { event: 'job', data: { ...state, state: 'processing' } },
    { event: 'entry', data: entry(1, 'setup.git.init', null, ['git', 'init']) },
    { event: 'output', data: { attempt: 1, entry: 1, offset: 0, data: encode('stderr: initialized\n') } },
    { event: 'entry', data: entry(1, 'setup.git.init', 0, ['git', 'init']) },
    { event: 'entry', data: entry(2, 'step.docker.0', null, ['docker', 'run']) },
    { event: 'output', data: { attempt: 1, entry: 2, offset: 0, data: encode(lines) } },
    { event: 'entry', data: entry(2, 'step.docker.0', outcome.exitCode, ['docker', 'run']) },
    { event: 'job', data: { ...state, state: outcome.state } },
    { event: 'end', data: { state: outcome.state } },
  ];
}

function encode(text: string): string {
  return Buffer.from(text).toString('base64');
}
