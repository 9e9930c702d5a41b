import { chooseRuntime } from '../choose-runtime.ts';
import { trustSystemCertificates } from '../client/index.ts';
import { readSettings, type Settings, thisHost } from '../env/index.ts';
import { newExecutorName } from '../executor.ts';
import {
  createProcessLog,
  createSecretRegister,
  type Logger,
  type SecretRegister,
} from '../process-log/index.ts';
import type { Runtime } from '../runtimes/runtime.ts';
import type { CommandSurroundings } from './surroundings.ts';

/** What every command that works with this machine begins with. */
export interface Start {
  settings: Settings;
  warnings: readonly string[];
  executorName: string;
  secrets: SecretRegister;
  log: Logger;
  runtime: Runtime & AsyncDisposable;
}

/** @throws SettingsError */
export function start({ env, err }: CommandSurroundings): Start {
  const { settings, warnings } = readSettings(env, thisHost(env));
  if (settings.frontendUrl.protocol === 'https:') trustSystemCertificates();
  const secrets = createSecretRegister();
  secrets.add(new Map([[settings.sharedSecret, 'SECRET_REMOVED']]));
  const log = createProcessLog({
    level: settings.logLevel,
    format: settings.logFormat,
    redact: (line) => secrets.redactText(line),
    write: err,
  });
  const executorName = newExecutorName();
  const runtime = chooseRuntime({ settings, executorName, dockerHost: env['DOCKER_HOST'] || undefined, log });
  return { settings, warnings, executorName, secrets, log, runtime };
}
