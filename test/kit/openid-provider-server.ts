import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import Provider from 'oidc-provider';

/**
 * Program behind `openid-provider.ts`: a certified OpenID Connect provider with one client. Whoever types a name is that
 * account: `dora` is the subject `subject-of-dora`, called `dora`. Ends with its parent.
 */
const { CLIENT_ID = '', CLIENT_SECRET = '', REDIRECT_URL = '', TELLS_NAMES = '' } = process.env;

const tellsNames = TELLS_NAMES === 'true';

const server = createServer((request, response) => void provider.callback()(request, response));
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const provider = new Provider(issuer, {
  clients: [{ client_id: CLIENT_ID, client_secret: CLIENT_SECRET, redirect_uris: [REDIRECT_URL] }],
  pkce: { required: () => true },
  claims: { openid: ['sub'], profile: tellsNames ? ['preferred_username'] : [] },
  features: { userinfo: { enabled: tellsNames } },
  findAccount: (_context, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id.replace('subject-of-', '') }),
  }),
  cookies: { keys: ['a key of tests'] },
});
process.stdout.write(`${issuer}\n`);
process.stdin.on('end', () => process.exit()).resume();
