import { randomBytes } from 'node:crypto';

const executorLabel = 'kiln.executor';
const jobLabel = 'kiln.job';
const attemptLabel = 'kiln.attempt';
const sandboxLabel = 'kiln.sandbox';

/** Everything one sandbox puts on the machine is named by this, so that it can be found without having been told of each thing. */
export interface SandboxNames {
  executor: string;
  job: number;
  attempt: number;
  /** 12 hexadecimal characters, never reused. Value of the label `kiln.sandbox` on containers and network. */
  sandbox: string;
  network: string;
  /** At most 15 characters: the kernel's limit for interfaces. */
  bridge: string;
  /** nftables table of family `inet`. */
  table: string;
  /** Parent of the steps' control groups, below each hierarchy's root. */
  cgroup: string;
}

export function sandboxNames(executor: string, job: number, attempt: number): SandboxNames {
  const sandbox = randomBytes(6).toString('hex');
  return {
    executor,
    job,
    attempt,
    sandbox,
    network: `kiln-${job}-${attempt}-${sandbox}`,
    bridge: `kb${sandbox}`,
    table: `kiln_${sandbox}`,
    cgroup: `/kiln-${sandbox}`,
  };
}

/** For people who read `docker ps`; the random part keeps a step that runs again apart from its predecessor. */
export function containerName(names: SandboxNames, step: string): string {
  const readable = step.replace(/[^A-Za-z0-9_.-]/g, '_').slice(0, 60);
  return `kiln-${names.job}-${names.attempt}-${readable}-${randomBytes(6).toString('hex')}`;
}

export function labelsOf(names: SandboxNames): Record<string, string> {
  return {
    [executorLabel]: names.executor,
    [jobLabel]: String(names.job),
    [attemptLabel]: String(names.attempt),
    [sandboxLabel]: names.sandbox,
  };
}

/** Filter of the Engine API's lists: both labels with exactly these values. */
export function ownershipFilter(names: Pick<SandboxNames, 'executor' | 'sandbox'>): string {
  return JSON.stringify({
    label: [`${executorLabel}=${names.executor}`, `${sandboxLabel}=${names.sandbox}`],
  });
}
