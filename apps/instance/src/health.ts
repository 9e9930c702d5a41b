import { compatVersion } from '@kiln/protocol';
import type { Database } from './database/index.ts';
import type { HttpServer } from './http.ts';

/** `/healthz` (the process answers), `/readyz` (it can do its work) and `/.api/src-cli/version`. No token needed. */
export function healthRoutes(
  server: HttpServer,
  { database, shutdown }: { database: Database; shutdown: AbortSignal },
): void {
  const hidden = { schema: { hide: true } };
  server.get('/healthz', hidden, async () => ({ status: 'ok' }));
  server.get('/readyz', hidden, async (request, reply) => {
    const reason = await unreadyBecause(database, shutdown);
    if (reason === undefined) return { status: 'ready' };
    request.log.warn({ reason }, 'not ready');
    return reply.code(503).send({ status: 'not ready', reason });
  });
  // Executors ask which release of the src command goes with this instance (from the reference).
  server.get('/.api/src-cli/version', hidden, async () => ({ version: compatVersion }));
}

/** A load balancer that waits longer than this for an answer counts the instance as down anyway. */
const readyDeadlineMs = 3000;

/** Migrations are done before the server listens, so a reachable database is all that remains to be asked. */
async function unreadyBecause(database: Database, shutdown: AbortSignal): Promise<string | undefined> {
  if (shutdown.aborted) return 'the instance is stopping';
  const { promise: late, resolve } = Promise.withResolvers<string>();
  const timer = setTimeout(
    resolve,
    readyDeadlineMs,
    `the database did not answer within ${readyDeadlineMs / 1000} s`,
  );
  try {
    return await Promise.race([database.query('select 1').then(() => undefined), late]);
  } catch (error) {
    return `the database cannot be reached: ${error instanceof Error ? error.message : String(error)}`;
  } finally {
    clearTimeout(timer);
  }
}
