import { once } from 'node:events';
import { createServer } from 'node:http';
import type { FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import type { HttpServer } from '../http.ts';
import type { Metrics } from './metrics.ts';

/** `GET /metrics` of the main address: for peers on this machine, and for site admins with a token. */
export function metricsRoute(
  server: HttpServer,
  {
    metrics,
    authorizeSiteAdmin,
  }: { metrics: Metrics; authorizeSiteAdmin: (request: FastifyRequest) => Promise<void> },
): void {
  server.get(
    '/metrics',
    {
      schema: { hide: true },
      onRequest: async (request) => {
        if (!isLocal(request)) await authorizeSiteAdmin(request);
      },
    },
    async (_request, reply) => reply.type(metrics.contentType).send(await metrics.text()),
  );
}

/**
 * A peer on this machine itself. A reverse proxy on this machine is one too, but not those for whom it speaks, and
 * proxies say so by a header.
 */
function isLocal({ raw, headers }: FastifyRequest): boolean {
  const forwarded = ['forwarded', 'via', 'x-forwarded-for', 'x-forwarded-host', 'x-real-ip'];
  if (forwarded.some((name) => headers[name] !== undefined)) return false;
  const address = (raw.socket.remoteAddress ?? '').replace(/^::ffff:/, '');
  return address === '::1' || address.startsWith('127.');
}

/** A server of its own for `/metrics` without a token, for a private network (`KILN_METRICS_LISTEN`). */
export async function serveMetrics(
  metrics: Metrics,
  listen: { host: string; port: number },
  log: Logger,
): Promise<AsyncDisposable & { port: number }> {
  const server = createServer((request, response) => {
    if (request.url?.split('?')[0] !== '/metrics') {
      response.writeHead(404).end();
      return;
    }
    metrics.text().then(
      (text) => response.writeHead(200, { 'content-type': metrics.contentType }).end(text),
      (err: unknown) => {
        log.error({ err }, 'the metrics could not be collected');
        response.writeHead(500).end();
      },
    );
  });
  server.listen(listen.port, listen.host);
  await once(server, 'listening');
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : listen.port,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
