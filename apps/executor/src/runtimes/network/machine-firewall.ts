import { HostCommandError, hostCommand } from '../host-command.ts';

/**
 * What must pass a machine's own iptables rules, those of ufw and Docker among them: a drop is final, whatever our rules accept. Ours
 * refuse all else on a job's link, and they judge first.
 */
const passes = {
  /** Lookups, and services of the machine that are opened to jobs. */
  local: [['-I', 'INPUT', '-i']],
  /**
   * Also to others and back. Last in FORWARD, so that only its policy is overruled; first in the chain that Docker has for exceptions,
   * since Docker drops in FORWARD itself.
   */
  all: [
    ['-I', 'INPUT', '-i'],
    ['-A', 'FORWARD', '-i'],
    ['-A', 'FORWARD', '-o'],
    ['-I', 'DOCKER-USER', '-i'],
    ['-I', 'DOCKER-USER', '-o'],
  ],
} as const;

/** `local`: of a container, whose other packets Docker lets pass. */
type Passing = keyof typeof passes;

/** Lets the packets of a job's link pass the machine's own firewall, where that is one of iptables. */
export async function passFirewall(
  link: string,
  passing: Passing,
  networkNamespace: string | undefined,
): Promise<void> {
  for (const rule of passes[passing]) await iptables([...rule, link], networkNamespace);
}

/** Takes back what {@link passFirewall} did; what is gone already is fine. */
export async function endPassing(
  link: string,
  passing: Passing,
  networkNamespace: string | undefined,
): Promise<void> {
  for (const [, chain, direction] of passes[passing])
    await iptables(['-D', chain, direction, link], networkNamespace);
}

async function iptables(rule: readonly string[], networkNamespace: string | undefined): Promise<void> {
  try {
    await hostCommand(['iptables', '-w', ...rule, '-j', 'ACCEPT'], { networkNamespace });
  } catch (error) {
    // No iptables, no Docker, or no such rule any more: nothing to pass.
    if (!(error instanceof HostCommandError)) throw error;
  }
}
