import type { FastifyInstance } from 'fastify';
import { requireJobAuth } from './auth.ts';
import { connectionController, type ExecutorApiContext, noteSignOfLife, pageNotFound } from './context.ts';

const gitPath = /^(.+)\/(info\/refs|git-upload-pack)$/;

/** Routes 11 and 12: repositories by git's smart HTTP, each only for the jobs that clone it. */
export function gitRoutes(app: FastifyInstance, context: ExecutorApiContext): void {
  const { queue, repositories, siteConfig, held } = context;
  app.route<{ Params: { '*': string } }>({
    method: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'],
    url: '/git/*',
    handler: async (request, reply) => {
      const [, repositoryName, path] = gitPath.exec(request.params['*']) ?? [];
      if (repositoryName === undefined || (path !== 'info/refs' && path !== 'git-upload-pack')) {
        throw pageNotFound();
      }
      const auth = await requireJobAuth(
        request.headers,
        siteConfig.current(),
        queue,
        { repositoryName },
        false,
      );
      await noteSignOfLife(queue, auth);
      const response = await repositories.serveGit({
        repositoryName,
        path,
        query: request.url.split(/\?(.*)/s)[1] ?? '',
        headers: request.headers,
        body: request.raw,
        signal: connectionController(reply, held).signal,
      });
      return reply.code(response.status).headers(response.headers).send(response.body);
    },
  });
}
