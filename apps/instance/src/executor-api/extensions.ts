import { extensionNames, extensionsHeader, kilnVersion, versionHeader } from '@kiln/protocol';
import type { FastifyReply } from 'fastify';

const extensionList = extensionNames.join(', ');

/** Tells an executor that proved the shared secret what this instance knows beyond the reference. */
export function announceExtensions(reply: FastifyReply): void {
  reply.header(extensionsHeader, extensionList).header(versionHeader, kilnVersion);
}
