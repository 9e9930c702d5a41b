import type { FastifyReply } from 'fastify';

/**
 * A refusal in one of the two shapes of the protocol (from the reference): plain text with one trailing newline,
 * or `{"error": message}` of the queue routes. Never 429 or 5xx for what the caller did: executors retry those.
 */
export class Refused extends Error {
  override readonly name = 'Refused';
  readonly status: number;
  readonly shape: 'text' | 'json' | 'empty' | 'null';

  constructor(status: number, shape: 'text' | 'json' | 'empty' | 'null', message = '') {
    super(message);
    this.status = status;
    this.shape = shape;
  }
}

/** Of the authentication, files and git layers; also for bodies that cannot be read. */
export function refusedText(status: number, message: string): Refused {
  return new Refused(status, 'text', message);
}

/** Of a queue route's rules. */
export function refusedJson(status: number, message: string): Refused {
  return new Refused(status, 'json', cut(message));
}

export function unreadableBody(reason: string): Refused {
  return refusedText(400, `Failed to unmarshal payload: ${cut(reason)}`);
}

export function bodyTooLarge(limit: string): Refused {
  return refusedText(413, `Request body is too large: this route accepts ${limit}`);
}

/** Reasons may quote what the caller sent; a reply must not grow with it. */
const maxReasonCharacters = 500;

function cut(reason: string): string {
  const shown = reason.length > maxReasonCharacters ? `${reason.slice(0, maxReasonCharacters)}...` : reason;
  return shown.toWellFormed();
}

export function sendRefusal(reply: FastifyReply, refused: Refused): FastifyReply {
  reply.code(refused.status);
  switch (refused.shape) {
    case 'text':
      return sendText(reply, `${refused.message}\n`);
    case 'json':
      return sendJson(reply, { error: refused.message });
    case 'null':
      return sendJson(reply, null);
    case 'empty':
      return reply.send();
  }
}

export function sendText(reply: FastifyReply, text: string): FastifyReply {
  return reply
    .header('content-type', 'text/plain; charset=utf-8')
    .header('x-content-type-options', 'nosniff')
    .send(text);
}

/** Serialized here, so that no serializer or hook of the surrounding server changes what goes over the wire. */
export function sendJson(reply: FastifyReply, body: unknown): FastifyReply {
  return reply.header('content-type', 'application/json').send(Buffer.from(JSON.stringify(body)));
}
