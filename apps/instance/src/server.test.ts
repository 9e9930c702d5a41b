import { pino } from 'pino';
import { beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { ApiError } from './api-error.ts';
import type { HttpServer } from './http.ts';
import { createServer } from './server.ts';

let server: HttpServer;
let lines: Record<string, unknown>[];
const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(JSON.parse(line)) });

beforeEach(async () => {
  lines = [];
  server = await createServer({ log });
  await server.register(async (scope) => {
    scope.get('/.api/refused', async () => {
      throw new ApiError(418, 'teapot', 'It is a teapot', 'Ask for tea.');
    });
    scope.get('/.api/broken', async () => {
      throw new Error('password is hunter2');
    });
    scope.get('/.api/away', async () => {
      throw Object.assign(new Error('terminating connection'), { code: '57P01' });
    });
    scope.get(
      '/.api/wrong-reply',
      { schema: { response: { 200: z.object({ a: z.string() }) } } },
      async () => {
        return JSON.parse('{"a": 1}');
      },
    );
    scope.post(
      '/.api/things/:name',
      { schema: { params: z.object({ name: z.string().max(3) }), body: z.strictObject({ n: z.int() }) } },
      async (request) => request.body,
    );
  });
});

async function inject(method: 'GET' | 'POST' | 'DELETE', url: string, body?: string) {
  const reply = await server.inject({
    method,
    url,
    ...(body === undefined ? {} : { payload: body, headers: { 'content-type': 'application/json' } }),
  });
  return { status: reply.statusCode, headers: reply.headers, body: reply.json() as unknown };
}

describe('errors of the API', () => {
  test('that routes throw on purpose are answered as they are', async () => {
    expect(await inject('GET', '/.api/refused')).toMatchObject({
      status: 418,
      body: { error: { code: 'teapot', message: 'It is a teapot', hint: 'Ask for tea.' } },
    });
    expect(lines).toEqual([]);
  });

  test.each(['/.api/broken', '/.api/wrong-reply'])(
    'that nobody expected (%s) tell nothing but where to look',
    async (url) => {
      const { status, headers, body } = await inject('GET', url);
      expect(status).toBe(500);
      expect(JSON.stringify(body)).not.toContain('hunter2');
      expect(body).toEqual({
        error: {
          code: 'internal',
          message: 'Something went wrong in the instance',
          hint: `The instance's log says more about request ${headers['x-request-id']}.`,
        },
      });
      expect(lines).toEqual([
        expect.objectContaining({ level: 50, requestId: headers['x-request-id'], err: expect.anything() }),
      ]);
    },
  );

  test('of a database that is away can be tried again', async () => {
    const { status, headers, body } = await inject('GET', '/.api/away');
    expect(status).toBe(503);
    expect(headers['retry-after']).toBe('1');
    expect(body).toMatchObject({ error: { code: 'unavailable' } });
  });

  test.each([
    ['/.api/things/ab', '{"n": 1.5, "x": 1}', 400, /^n: .*; body: Unrecognized key: "x"$/],
    ['/.api/things/abcd', '{"n": 1}', 400, /^params name: /],
    ['/.api/things/ab', '{"n": 1', 400, /not valid JSON/],
    ['/.api/things/ab', `{"n": "${'x'.repeat(1024 * 1024)}"}`, 413, /larger than 1048576 bytes/],
  ])('%s %.20s: %i', async (url, body, status, message) => {
    expect(await inject('POST', url, body)).toMatchObject({
      status,
      body: { error: { message: expect.stringMatching(message) } },
    });
  });

  test('for a wrong method name the right ones, whatever the name in the path', async () => {
    const { status, headers } = await inject('DELETE', '/.api/things/a%2Fb');
    expect(status).toBe(405);
    expect(headers['allow']).toBe('POST');
    expect((await inject('GET', '/.api/things')).status).toBe(404);
    expect((await inject('GET', '/.api/things/a/b')).status).toBe(404);
  });
});
