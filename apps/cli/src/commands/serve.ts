import path from 'node:path';
import type { Command } from 'commander';
import { CliError } from '../errors.ts';
import type { Invocation } from '../invocation.ts';
import type { CommandSetup } from '../session.ts';

interface ServeOptions {
  data?: string;
  listen?: string;
  forgetSecrets?: true;
}

export function addServe(program: Command, { invocation }: CommandSetup): void {
  program
    .command('serve')
    .description('run an instance in the foreground until SIGTERM or Ctrl-C')
    .option('--data <directory>', 'where it keeps everything (KILN_DATA_DIR, default: .kiln)')
    .option('--listen <host:port>', 'where it listens (KILN_LISTEN, default: 127.0.0.1:3080)')
    .option(
      '--forget-secrets',
      'delete what is encrypted with a lost key: executor secrets, and the site configuration, which is made anew with a new shared secret for executors',
    )
    .action((options: ServeOptions) => serve(options, invocation));
}

async function serve(options: ServeOptions, invocation: Invocation): Promise<void> {
  // Loaded here: every other command would wait for the whole instance.
  const instances = await import('@kiln/instance');
  const env = {
    ...invocation.env,
    ...(options.data === undefined ? {} : { KILN_DATA_DIR: options.data }),
    ...(options.listen === undefined ? {} : { KILN_LISTEN: options.listen }),
  };
  for (const line of instances.misspeltSettings(env)) invocation.stderr.write(`warning: ${line}\n`);
  try {
    const settings = instances.readInstanceSettings(env);
    await using instance = await instances.startInstance({
      dataDirectory: path.resolve(invocation.cwd, settings.KILN_DATA_DIR),
      listen: settings.KILN_LISTEN,
      databaseURL: settings.KILN_DATABASE_URL,
      ...(settings.KILN_BLOB_DIR === undefined
        ? {}
        : { blobDirectory: path.resolve(invocation.cwd, settings.KILN_BLOB_DIR) }),
      secretKey: settings.KILN_SECRET_KEY,
      forgetSecrets: options.forgetSecrets,
      ...(settings.KILN_SECRET_KEY_FILE === undefined
        ? {}
        : { secretKeyFile: path.resolve(invocation.cwd, settings.KILN_SECRET_KEY_FILE) }),
      siteConfigFile: settings.KILN_SITE_CONFIG_FILE,
      trustProxy: settings.KILN_TRUST_PROXY,
      metricsListen: settings.KILN_METRICS_LISTEN,
      logLevel: settings.KILN_LOG_LEVEL,
      gitEnvironment: invocation.env,
      shutdownSeconds: settings.KILN_SHUTDOWN_SECONDS,
    });
    invocation.stdout.write(
      `kiln is listening on ${instance.url} (data directory ${instance.dataDirectory})\n`,
    );
    await aborted(invocation.interrupted);
  } catch (error) {
    throw describeStartFailure(error, instances);
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

/** What an operator can mend is told without a stack; anything else is a defect and keeps it. */
function describeStartFailure(error: unknown, instances: typeof import('@kiln/instance')): unknown {
  if (!(error instanceof Error)) return error;
  if (error instanceof instances.SettingsError) {
    return new CliError(`a setting cannot be used:\n${error.message}`, {
      hint: 'docs/reference/instance-settings.md lists them all',
      cause: error,
    });
  }
  if (
    error instanceof instances.SiteConfigError ||
    error instanceof instances.DatabaseStartError ||
    error instanceof instances.SecretKeyError
  ) {
    return new CliError(error.message, { cause: error });
  }
  const { code, address, port } = error as NodeJS.ErrnoException & { address?: string; port?: number };
  if (code === 'EADDRINUSE') {
    return new CliError(`something else listens on ${address}:${port}`, {
      hint: 'is another instance running? choose another address with --listen HOST:PORT',
      cause: error,
    });
  }
  if (code === 'EACCES' || code === 'EADDRNOTAVAIL' || code === 'ENOSPC' || code === 'EROFS') {
    return new CliError(`the instance cannot start: ${error.message}`, { cause: error });
  }
  return error;
}
