import { queueNames } from '@kiln/protocol';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { pageNotFound } from './context.ts';
import { Refused, sendRefusal } from './replies.ts';

const queue = `(?:${queueNames.join('|')})`;
const job = [
  'addExecutionLogEntry',
  'updateExecutionLogEntry',
  'appendExecutionLog',
  'markComplete',
  'markErrored',
  'markFailed',
  'release',
].join('|');

/** Every path of the protocol, for replies to requests that match none of them with their method. */
const knownPaths = new RegExp(
  [
    '^/\\.executors/(?:test/auth',
    `queue/(?:${queue}/)?(?:dequeue|heartbeat)`,
    `queue/${queue}/(?:${job})`,
    'git/.+/(?:info/refs|git-upload-pack)',
    'files/[^/]+/[^/]+/[^/]+)$',
  ].join('|'),
);

/**
 * As the reference's router: a known path with a slash at its end is sent to the one without, another method is
 * refused without a body, and anything else does not exist. Credentials are not looked at (from the reference).
 */
export function replyToUnknownRoute(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const [path = '', query] = request.url.split(/\?(.*)/s);
  if (knownPaths.test(path)) return sendRefusal(reply, new Refused(405, 'empty'));
  const canonical = path.replace(/\/+$/, '');
  if (path.endsWith('/') && knownPaths.test(canonical)) {
    return reply.redirect(canonical + (query === undefined ? '' : `?${query}`), 301);
  }
  return sendRefusal(reply, pageNotFound());
}
