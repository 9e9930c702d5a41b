import { STATUS_CODES } from 'node:http';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod';
import { ApiError } from './api-error.ts';
import { isPassingFailure, isUnstorableValue } from './database/index.ts';
import type { HttpServer } from './http.ts';

/**
 * Makes every error of `/.api` an `{"error": {code, message, hint?}}`, also a path or method that does not exist.
 * Elsewhere errors are plain text, as the executor protocol has it.
 */
export function addErrorReplies(server: HttpServer): void {
  const routes = collectRoutes(server);

  server.setErrorHandler((error: unknown, request, reply) =>
    sendError(toApiError(error, request), request, reply),
  );
  server.setNotFoundHandler((request, reply) => {
    const methods = routes.methodsOf(pathOf(request));
    if (methods.length === 0) {
      return sendError(
        new ApiError(
          404,
          'not_found',
          `There is nothing at ${pathOf(request)}`,
          'The routes are listed in /.api/openapi.json.',
        ),
        request,
        reply,
      );
    }
    reply.header('allow', methods.join(', '));
    return sendError(
      new ApiError(
        405,
        'method_not_allowed',
        `${pathOf(request)} does not allow ${request.method}`,
        `It allows ${methods.join(', ')}.`,
      ),
      request,
      reply,
    );
  });
}

function sendError(error: ApiError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  reply.code(error.status);
  if (error.status === 401) reply.header('www-authenticate', 'Bearer realm="kiln"');
  if (error.retryAfterSeconds !== undefined) reply.header('retry-after', String(error.retryAfterSeconds));
  if (isApi(pathOf(request)))
    return reply.type('application/json; charset=utf-8').send(JSON.stringify(error.toBody()));
  const text = error.status === 404 ? '404 page not found' : error.message;
  return reply.type('text/plain; charset=utf-8').send(`${text}\n`);
}

function toApiError(error: unknown, request: FastifyRequest): ApiError {
  if (error instanceof ApiError) return error;
  if (hasZodFastifySchemaValidationErrors(error)) return invalidRequest(error);
  if (isPassingFailure(error)) {
    request.log.warn({ err: error, route: request.routeOptions.url }, 'the database could not be asked');
    return new ApiError(
      503,
      'unavailable',
      'The database cannot be reached at the moment',
      'Try again in a few seconds.',
    );
  }
  if (isUnstorableValue(error)) {
    request.log.warn({ err: error, route: request.routeOptions.url }, 'the database refused a value');
    return new ApiError(400, 'invalid_request', 'The request has a value that cannot be stored');
  }
  const status = error instanceof Error ? (error as FastifyError).statusCode : undefined;
  if (error instanceof Error && status !== undefined && status >= 400 && status < 500) {
    return new ApiError(status, codeOf(status), messageOfClientError(error, request));
  }
  request.log.error(
    { err: error, method: request.method, route: request.routeOptions.url },
    'a request failed',
  );
  return new ApiError(
    500,
    'internal',
    'Something went wrong in the instance',
    `The instance's log says more about request ${request.id}.`,
  );
}

/** All problems of a request at once: `steps[0].image: Invalid input: expected string, received undefined; ...`. */
function invalidRequest(
  error: Omit<FastifyError, 'validation'> & {
    validation: ReadonlyArray<ValidationProblem>;
    validationContext?: string | undefined;
  },
): ApiError {
  const where =
    error.validationContext === undefined || error.validationContext === 'body'
      ? ''
      : `${error.validationContext} `;
  const problems = error.validation.map(
    (problem) => `${where}${propertyOf(problem.instancePath)}: ${problem.message}`,
  );
  const shown = problems.slice(0, maxProblems).map(shortened);
  if (problems.length > shown.length) shown.push(`and ${problems.length - shown.length} more`);
  return new ApiError(400, 'invalid_request', shown.join('; '));
}

/** A body of megabytes can have as many problems, and problems that long; nobody reads more than this. */
const maxProblems = 20;
const maxProblemCharacters = 400;

function shortened(problem: string): string {
  return problem.length > maxProblemCharacters ? `${problem.slice(0, maxProblemCharacters)}...` : problem;
}

interface ValidationProblem {
  instancePath: string;
  message?: string;
}

/** `/steps/0/image` -> `steps[0].image`. */
function propertyOf(pointer: string): string {
  const parts = pointer
    .split('/')
    .filter((part) => part !== '')
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
  if (parts.length === 0) return 'body';
  return parts
    .map((part, index) => (/^\d+$/.test(part) ? `[${part}]` : index === 0 ? part : `.${part}`))
    .join('');
}

function messageOfClientError(error: Error, request: FastifyRequest): string {
  const code = (error as FastifyError).code;
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    return `The request body is larger than ${request.routeOptions.bodyLimit} bytes`;
  }
  if (code === 'FST_ERR_CTP_INVALID_JSON_BODY') {
    return 'The request body is not valid JSON (a key "__proto__" is not allowed either)';
  }
  return error.message;
}

function codeOf(status: number): string {
  if (status === 400) return 'invalid_request';
  if (status === 413) return 'too_large';
  return (STATUS_CODES[status] ?? 'client_error').toLowerCase().replace(/[^a-z]+/g, '_');
}

/** Remembers the routes of `/.api`: the router itself does not tell a wrong method from a wrong path. */
function collectRoutes(server: HttpServer): { methodsOf(path: string): string[] } {
  const methods = new Map<string, { pattern: RegExp; methods: Set<string> }>();
  server.addHook('onRoute', (route) => {
    if (!isApi(route.url)) return;
    const entry = methods.get(route.url) ?? { pattern: patternOf(route.url), methods: new Set<string>() };
    for (const method of [route.method].flat()) entry.methods.add(method);
    methods.set(route.url, entry);
  });
  return {
    methodsOf: (path) => [
      ...new Set(
        [...methods.values()].flatMap((entry) => (entry.pattern.test(path) ? [...entry.methods] : [])),
      ),
    ],
  };
}

function patternOf(url: string): RegExp {
  const parts = url.split('/').map((part) => (part.startsWith(':') ? '[^/]+' : RegExp.escape(part)));
  return new RegExp(`^${parts.join('/')}$`);
}

function isApi(path: string): boolean {
  return path === '/.api' || path.startsWith('/.api/');
}

function pathOf(request: FastifyRequest): string {
  return request.url.split('?', 1)[0] ?? request.url;
}
