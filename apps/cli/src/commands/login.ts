import { hostname } from 'node:os';
import { createdAccessTokenSchema } from '@kiln/protocol';
import type { Command } from 'commander';
import { z } from 'zod';
import { type Client, createClient } from '../api/client.ts';
import { findLogin, type StoredLogin, storeLogin } from '../api/stored-logins.ts';
import { ApiRefusal, CliError } from '../errors.ts';
import { readPassword, refuseArguments } from '../secret-input.ts';
import { type CommandSetup, openSession } from '../session.ts';

/** Whoever loses a machine loses what it could do at the latest after this time. */
const loginDays = 90;

const loginHelp = `
The password is asked for and not shown, or read from standard input. Kept is an access token, in a file that only
you can read; it is good for ${loginDays} days with the instance at this address, where KILN_TOKEN is not set.
`;

export function addLogin(program: Command, { invocation }: CommandSetup): void {
  program
    .command('login')
    .description('sign in to an instance, until kiln logout')
    .argument('<name>', 'your user name')
    .allowExcessArguments()
    .addHelpText('after', loginHelp)
    .action(async (name: string, _options: object, command: Command) => {
      refuseArguments(command.args, 1, 'a password');
      const { output, client: before } = await openSession(command, invocation);
      const { url } = before.connection;
      if (url.startsWith('http:') && !before.connection.loopback) {
        output.note(output.style('yellow', `notice: the password travels unencrypted to ${url}`));
      }
      // Before a token is made, which could not be kept where this fails.
      const earlier = await findLogin(invocation, url);
      const password = await readPassword(`Password of ${name}`, invocation);
      const body = { name, password, note: `kiln login on ${hostname()}`, expiresInDays: loginDays };
      const client = createClient({ ...before.connection, token: undefined }, invocation.interrupted);
      const path = '/.api/access-tokens/by-password';
      const made = await client.call('POST', path, createdAccessTokenSchema, { body });
      const { token, user, accessToken } = made;
      await storeLogin(invocation, url, { token, tokenId: accessToken.id, user });
      if (earlier) await revoke(client, earlier);
      if (output.json) return output.jsonLine({ user, url, expiresAt: accessToken.expiresAt });
      output.line(`signed in to ${url} as ${user}`);
      if (invocation.env['KILN_TOKEN']) {
        output.note(output.style('yellow', 'notice: KILN_TOKEN is set and goes first'));
      }
    });

  program
    .command('logout')
    .description('revoke the access token of kiln login, and forget it')
    .action(async (_options: object, command: Command) => {
      const { output, client } = await openSession(command, invocation);
      const { url } = client.connection;
      const login = await findLogin(invocation, url);
      if (!login) throw new CliError(`nobody is signed in to ${url}`);
      await revoke(client, login);
      await storeLogin(invocation, url, undefined);
      if (output.json) output.jsonLine({ user: login.user, url });
      else output.line(`signed out of ${url}`);
    });

  async function revoke({ connection }: Client, { token, tokenId }: StoredLogin): Promise<void> {
    const own = createClient({ ...connection, token }, invocation.interrupted);
    try {
      await own.call('DELETE', `/.api/access-tokens/${tokenId}`, z.unknown());
    } catch (error) {
      // Expired or revoked already: what was asked for is so.
      if (!(error instanceof ApiRefusal && error.status === 401)) throw error;
    }
  }
}
