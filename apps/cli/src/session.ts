import type { Command } from 'commander';
import { type Client, createClient } from './api/client.ts';
import { resolveConnection } from './api/connection.ts';
import type { ExitCode } from './errors.ts';
import type { Invocation } from './invocation.ts';
import { createOutput, type Output } from './output/output.ts';

/** What a command that talks to an instance works with. */
export interface Session {
  client: Client;
  output: Output;
  invocation: Invocation;
}

/** How commands are added to the program: each is given its session and says how the process exits. */
export interface CommandSetup {
  invocation: Invocation;
  /** Called by the command that ran; without a call the exit code is 0. */
  setExitCode(code: ExitCode): void;
}

interface GlobalOptions {
  json?: true;
  url?: string;
}

export async function openSession(command: Command, invocation: Invocation): Promise<Session> {
  const { json, url } = command.optsWithGlobals<GlobalOptions>();
  const connection = await resolveConnection(invocation, url);
  return {
    client: createClient(connection, invocation.interrupted),
    output: createOutput(invocation, json === true),
    invocation,
  };
}
