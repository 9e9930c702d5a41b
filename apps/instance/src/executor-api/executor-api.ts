import type { FastifyError, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify';
import { isPassingFailure, isUnstorableValue } from '../database/index.ts';
import type { HttpServer } from '../http.ts';
import { requireSharedSecret } from './auth.ts';
import type { ExecutorApiContext, ExecutorApiOptions } from './context.ts';
import { dequeueRoutes } from './dequeue-routes.ts';
import { announceExtensions } from './extensions.ts';
import { fileRoutes } from './file-routes.ts';
import { gitRoutes } from './git-routes.ts';
import { heartbeatRoutes } from './heartbeat-routes.ts';
import { logRoutes } from './log-routes.ts';
import { markRoutes } from './mark-routes.ts';
import { Refused, refusedJson, refusedText, sendRefusal, sendText } from './replies.ts';
import { replyToUnknownRoute } from './unknown-routes.ts';

/**
 * The executor protocol under `/.executors`: routes 1 to 14 of the reference, and Kiln's extensions. It reads and
 * writes the wire; the rules are those of the queue, the logs and the features.
 */
export function executorApi(server: HttpServer, options: ExecutorApiOptions): void {
  server.register(plugin(options), { prefix: '/.executors' });
}

function plugin(options: ExecutorApiOptions): FastifyPluginAsync {
  return async (app) => {
    const context: ExecutorApiContext = { ...options, held: new Set() };
    // Held dequeues and heartbeats would otherwise hold up the end of the server.
    app.addHook('preClose', async () => {
      for (const request of context.held) request.abort();
    });

    // Bodies are read by the routes themselves, after authentication: as streams, whatever their type, gzip or not.
    app.removeAllContentTypeParsers();
    app.addContentTypeParser('*', (_request, _payload, done) => done(null));
    app.setNotFoundHandler(replyToUnknownRoute);
    app.setErrorHandler((error: FastifyError, request, reply) => sendError(context, error, request, reply));

    app.route({
      method: 'GET',
      url: '/test/auth',
      exposeHeadRoute: false,
      handler: async (request, reply) => {
        requireSharedSecret(request.headers, options.siteConfig.current());
        announceExtensions(reply);
        return sendText(reply, 'ok');
      },
    });
    dequeueRoutes(app, context);
    heartbeatRoutes(app, context);
    logRoutes(app, context);
    markRoutes(app, context);
    gitRoutes(app, context);
    fileRoutes(app, context);
  };
}

function sendError(
  { log }: ExecutorApiContext,
  error: FastifyError,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  if (error instanceof Refused) return sendRefusal(reply, error);
  const route = request.routeOptions.url;
  if (isPassingFailure(error)) {
    log.warn({ err: error, route }, 'the database could not be asked; the executor tries again');
    return sendRefusal(reply, refusedJson(503, 'the instance cannot reach its database, try again'));
  }
  if (isUnstorableValue(error)) {
    log.warn({ err: error, route }, 'a request held a value that the database refused');
    return sendRefusal(reply, refusedJson(400, 'a value in the request is out of range'));
  }
  const status = error.statusCode;
  if (status !== undefined && status >= 400 && status < 500) {
    return sendRefusal(reply, refusedText(status, error.message));
  }
  log.error({ err: error, route }, 'a request of an executor failed');
  return sendRefusal(reply, refusedJson(500, 'internal error'));
}
