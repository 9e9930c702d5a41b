import { randomUUID } from 'node:crypto';
import fastify, { type FastifyBaseLogger, LogController } from 'fastify';
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import type { Logger } from 'pino';
import type { TrustProxy } from './env.ts';
import { addErrorReplies } from './error-replies.ts';
import type { HttpServer } from './http.ts';
import { addOpenApi } from './openapi.ts';

export interface ServerOptions {
  log: Logger;
  trustProxy?: TrustProxy | undefined;
}

/**
 * The HTTP server without routes: errors in one form, request ids, security headers, limits, and the OpenAPI document
 * at `/.api/openapi.json`. Declare routes inside `server.register(...)`, so that the document has them.
 */
export async function createServer({ log, trustProxy }: ServerOptions): Promise<HttpServer> {
  const logger: FastifyBaseLogger = log;
  const server: HttpServer = fastify({
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'requestId' }),
    trustProxy: trustedBy(trustProxy),
    genReqId: () => randomUUID(),
    bodyLimit: 1024 * 1024,
    // Names in paths have up to 512 characters, each up to 12 letters when percent-encoded.
    routerOptions: { maxParamLength: 8192 },
    onProtoPoisoning: 'error',
    onConstructorPoisoning: 'error',
    // Proxies and executors keep idle connections for up to 90 s. Whoever closes first must be the client, or its next
    // request meets a closing connection.
    keepAliveTimeout: 100_000,
    // From the first byte of a request to its last, not to its answer: held requests are not touched. Log bodies of
    // 512 MiB fit at 1 MiB/s.
    requestTimeout: 600_000,
    forceCloseConnections: 'idle',
  }).withTypeProvider<ZodTypeProvider>();

  server.setValidatorCompiler(validatorCompiler);
  server.setSerializerCompiler(serializerCompiler);
  addErrorReplies(server);
  addHeaders(server);
  addRequestLog(server, log);
  await addOpenApi(server);
  return server;
}

/** A number of proxies: the peer and the addresses that the last ones of them report. */
function trustedBy(
  trustProxy: TrustProxy | undefined,
): false | string[] | ((address: string, hop: number) => boolean) {
  if (trustProxy === undefined) return false;
  return typeof trustProxy === 'number' ? (_, hop) => hop < trustProxy : trustProxy;
}

const executorPath = '/.executors/';

function addHeaders(server: HttpServer): void {
  const headers = {
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    'referrer-policy': 'no-referrer',
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    'cross-origin-resource-policy': 'same-origin',
    'cache-control': 'no-store',
  };
  server.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
    // Only programs read the executor protocol, thousands of times a second; browsers' defences are for the rest.
    if (request.url.startsWith(executorPath)) reply.header('x-content-type-options', 'nosniff');
    else reply.headers(headers);
  });
}

/** One line for each answered request: without headers, bodies and query strings, which may hold secrets. */
function addRequestLog(server: HttpServer, log: Logger): void {
  server.addHook('onResponse', async (request, reply) => {
    if (!log.isLevelEnabled('debug')) return;
    request.log.debug(
      {
        method: request.method,
        path: request.url.split('?', 1)[0],
        status: reply.statusCode,
        durationMs: Math.round(reply.elapsedTime),
        peer: request.ip,
      },
      'answered',
    );
  });
}
