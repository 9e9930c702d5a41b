import type { Host } from './read.ts';
import type { ParsedVariables, Settings, VariableKey } from './variables.ts';

/** The rules that need more than one variable, or this machine. Values that could not be read are absent and give no second mistake. */
export function checkRules(
  parsed: Partial<ParsedVariables>,
  texts: Partial<Record<VariableKey, string>>,
  host: Host,
): { mistakes: string[]; warnings: string[]; queues: Settings['queues'] | undefined } {
  const mistakes: string[] = [];
  const warnings: string[] = [];
  const queues = chooseQueues(parsed, texts, mistakes);
  checkAddress(parsed, mistakes);
  if (parsed.useFirecracker === true) checkMicrovm(parsed, host, mistakes, warnings);
  const script = parsed.vmStartupScriptPath;
  if (script !== undefined && !host.isFile(script))
    mistakes.push(`EXECUTOR_VM_STARTUP_SCRIPT_PATH: there is no file ${JSON.stringify(script)}`);
  if (
    parsed.dockerHostMountPath !== undefined &&
    texts.temporaryDirectory === host.temporaryDirectory &&
    texts.temporaryDirectory === '/tmp'
  )
    warnings.push(
      'EXECUTOR_DOCKER_HOST_MOUNT_PATH is set but TMPDIR is not: the workspace is in /tmp, so that path must be the same directory as the /tmp of this executor',
    );
  return { mistakes, warnings, queues };
}

/** Own files are taken, by their paths; an image reference is what set-ups for another guest have. */
function checkMicrovm(
  parsed: Partial<ParsedVariables>,
  host: Host,
  mistakes: string[],
  warnings: string[],
): void {
  for (const [name, value] of [
    ['EXECUTOR_FIRECRACKER_IMAGE', parsed.firecrackerImage],
    ['EXECUTOR_FIRECRACKER_KERNEL_IMAGE', parsed.firecrackerKernelImage],
  ] as const) {
    if (value === undefined) continue;
    if (!value.startsWith('/')) warnings.push(`${name} has no effect: Kiln builds its own guest; unset this`);
    else if (!host.isFile(value)) mistakes.push(`${name}: there is no file ${JSON.stringify(value)}`);
  }
}

function chooseQueues(
  parsed: Partial<ParsedVariables>,
  texts: Partial<Record<VariableKey, string>>,
  mistakes: string[],
): Settings['queues'] | undefined {
  if (texts.queueName !== undefined && texts.queueNames !== undefined) {
    mistakes.push('EXECUTOR_QUEUE_NAME and EXECUTOR_QUEUE_NAMES are both set; set one of them');
    return undefined;
  }
  if (texts.queueName === undefined && texts.queueNames === undefined) {
    mistakes.push(
      'neither EXECUTOR_QUEUE_NAME nor EXECUTOR_QUEUE_NAMES is set; set one of them, for example EXECUTOR_QUEUE_NAME=jobs',
    );
    return undefined;
  }
  if (parsed.queueName !== undefined) return { mode: 'single', names: [parsed.queueName] };
  const [first, ...others] = parsed.queueNames ?? [];
  return first === undefined ? undefined : { mode: 'multi', names: [first, ...others] };
}

function checkAddress(parsed: Partial<ParsedVariables>, mistakes: string[]): void {
  const url = parsed.frontendUrl;
  if (url === undefined) return;
  if (url.hostname === 'host.docker.internal' && parsed.dockerAddHostGateway !== true)
    mistakes.push(
      'EXECUTOR_FRONTEND_URL: steps cannot reach "host.docker.internal" unless EXECUTOR_DOCKER_ADD_HOST_GATEWAY=true is set',
    );
  if (url.protocol === 'http:' && !isLoopback(url.hostname) && parsed.allowInsecure !== true)
    mistakes.push(
      `EXECUTOR_FRONTEND_URL: "${url.origin}" would send the shared secret and all job secrets in clear; use https://, or set EXECUTOR_ALLOW_INSECURE=true in a network you trust`,
    );
}

function isLoopback(hostname: string): boolean {
  return (
    hostname === 'localhost' ||
    hostname.endsWith('.localhost') ||
    hostname === '[::1]' ||
    /^127\.\d+\.\d+\.\d+$/.test(hostname)
  );
}
