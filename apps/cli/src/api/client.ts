import { apiErrorSchema } from '@kiln/protocol';
import type { z } from 'zod';
import { ApiRefusal, CliError, Interrupted, Unreachable } from '../errors.ts';
import type { Connection } from './connection.ts';

interface RequestOptions {
  body?: unknown;
  headers?: Record<string, string>;
  /** An instance may fetch a repository before it answers; such calls get more. */
  timeoutSeconds?: number;
}

/** The instance's REST API. Every method throws {@link ApiRefusal}, {@link Unreachable} or {@link Interrupted}. */
export interface Client {
  readonly connection: Connection;
  /** Reads the reply as `schema` says. `path` starts with `/.api/`; its variable parts are encoded by {@link segment}. */
  call<Schema extends z.ZodType>(
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    path: string,
    schema: Schema,
    options?: RequestOptions,
  ): Promise<z.infer<Schema>>;
  /** Opens a reply that is read piece by piece; the deadline covers its headers only. */
  open(path: string, headers: Record<string, string>, signal?: AbortSignal): Promise<Response>;
}

/** A path segment for a name that may hold slashes. */
export function segment(name: string | number): string {
  return encodeURIComponent(name);
}

export function createClient(connection: Connection, interrupted: AbortSignal): Client {
  async function send(path: string, init: RequestInit, signals: AbortSignal[]): Promise<Response> {
    const headers = new Headers(init.headers);
    if (connection.token !== undefined) headers.set('authorization', `token ${connection.token}`);
    const signal = AbortSignal.any([interrupted, ...signals]);
    let response: Response;
    try {
      // A redirect is never followed: it would carry the token to wherever it points.
      response = await fetch(connection.url + path, { ...init, headers, signal, redirect: 'manual' });
    } catch (error) {
      throw describeFailure(error, connection, interrupted);
    }
    if (response.status >= 300 && response.status < 400) {
      await response.body?.cancel();
      throw new CliError(`${connection.url} redirects to ${response.headers.get('location') ?? 'nowhere'}`, {
        hint: 'set KILN_URL to the address of the instance itself',
      });
    }
    if (!response.ok) throw await readRefusal(response, connection);
    return response;
  }

  return {
    connection,
    async call(method, path, schema, options = {}) {
      const init: RequestInit = { method, headers: { accept: 'application/json', ...options.headers } };
      if (options.body !== undefined) {
        init.body = JSON.stringify(options.body);
        init.headers = { ...init.headers, 'content-type': 'application/json' };
      }
      const deadline = AbortSignal.timeout((options.timeoutSeconds ?? 30) * 1000);
      const response = await send(path, init, [deadline]);
      let text: string;
      try {
        text = await response.text();
      } catch (error) {
        throw describeFailure(error, connection, interrupted);
      }
      const parsed = schema.safeParse(parseJson(text));
      if (!parsed.success) throw notKiln(connection, `${method} ${path}`, parsed.error);
      return parsed.data;
    },
    async open(path, headers, signal) {
      const opening = new AbortController();
      const timer = setTimeout(
        () => opening.abort(new DOMException('no answer within 30 s', 'TimeoutError')),
        30_000,
      );
      try {
        return await send(path, { headers }, signal ? [opening.signal, signal] : [opening.signal]);
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

/** Turns what `fetch` and its body throw into an error that says what to do. */
export function describeFailure(error: unknown, connection: Connection, interrupted: AbortSignal): CliError {
  if (error instanceof CliError) return error;
  if (interrupted.aborted) return new Interrupted();
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  if (error instanceof Error && error.name === 'TimeoutError') {
    return new Unreachable(`the instance at ${connection.url} did not answer in time`, {
      hint: 'try again; if it stays so, look at the log of the instance',
      cause: error,
    });
  }
  const reason =
    code === 'ECONNREFUSED'
      ? 'nothing listens there'
      : code === 'ENOTFOUND'
        ? 'there is no such host'
        : cause instanceof Error
          ? cause.message || code
          : String(cause);
  return new Unreachable(`no Kiln instance answers at ${connection.url}: ${reason}`, {
    hint: 'start one with `kiln serve`, or set KILN_URL to the address of yours',
    cause: error,
  });
}

async function readRefusal(response: Response, connection: Connection): Promise<CliError> {
  const text = await response.text().catch(() => '');
  const parsed = apiErrorSchema.safeParse(parseJson(text));
  if (!parsed.success) {
    const excerpt = text.trim().slice(0, 200);
    const message = `${connection.url} answered ${response.status}${excerpt === '' ? '' : `: ${excerpt}`}`;
    return response.status >= 500
      ? new Unreachable(message, { hint: 'look at the log of the instance' })
      : new CliError(message, { hint: `is ${connection.url} a Kiln instance? KILN_URL says so` });
  }
  const { error } = parsed.data;
  if (response.status === 401 && error.code === 'unauthenticated') {
    const hint = `log in with \`kiln login\`, or set KILN_TOKEN to an access token (token used: ${connection.tokenSource})`;
    return new ApiRefusal(401, { ...error, hint });
  }
  return new ApiRefusal(response.status, error);
}

function notKiln(connection: Connection, call: string, error: Error): CliError {
  return new CliError(
    `${connection.url} answered ${call} with something that this kiln does not understand`,
    {
      hint: 'is it a Kiln instance, of about the version of this program (`kiln --version`)?',
      cause: error,
    },
  );
}

/** `undefined` for what is no JSON; no schema accepts that. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
