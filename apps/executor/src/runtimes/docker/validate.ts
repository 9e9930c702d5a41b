import { hasHole } from '../known-holes.ts';
import { checkFirewall, connectionsFinding, NftError } from '../network/index.ts';
import type { Finding } from '../runtime.ts';
import { type DaemonFacts, daemonFacts, runcVersion } from './daemon-facts.ts';
import type { Engine } from './engine.ts';

/** What would keep steps from running in Docker on this machine, or make them less isolated than they could be. */
export async function validateDocker(
  engine: Engine,
  networkNamespace: string | undefined,
  signal: AbortSignal,
): Promise<Finding[]> {
  const machine: Finding = {
    check: 'machine',
    severity: 'ok',
    message: `${process.platform} on ${process.arch}`,
    fix: '',
  };
  let facts: DaemonFacts;
  try {
    facts = await daemonFacts(engine, signal);
  } catch (error) {
    signal.throwIfAborted();
    return [
      machine,
      {
        check: 'docker',
        severity: 'error',
        message: error instanceof Error ? error.message : String(error),
        fix: 'Install and start Docker 20.10 or newer (Debian: apt-get install docker.io), or name its socket in DOCKER_HOST.',
      },
    ];
  }
  return [
    machine,
    {
      check: 'docker',
      severity: 'ok',
      message: `Docker ${facts.version} answers: ${facts.storageDriver}, cgroup v${facts.cgroupVersion} (${facts.cgroupDriver})`,
      fix: '',
    },
    ...(await firewallFindings(networkNamespace)),
    await connectionsFinding(),
    ...daemonFindings(facts),
    ...runcFindings(await runcVersion(engine, signal)),
  ];
}

async function firewallFindings(networkNamespace: string | undefined): Promise<Finding[]> {
  try {
    await checkFirewall(networkNamespace);
    return [{ check: 'nftables', severity: 'ok', message: 'firewall rules can be set', fix: '' }];
  } catch (error) {
    const isMissing = error instanceof NftError && error.missing;
    return [
      {
        check: 'nftables',
        severity: 'error',
        message: `the firewall rules of jobs' networks cannot be set, so jobs with network "public" will fail: ${error instanceof Error ? error.message : String(error)}`,
        fix: isMissing
          ? 'Install nftables (Debian: apt-get install nftables).'
          : 'Run the executor as root or with CAP_NET_ADMIN, in the network namespace of the Docker daemon.',
      },
    ];
  }
}

export function daemonFindings(facts: DaemonFacts): Finding[] {
  const findings: Finding[] = [];
  const has = (name: string): boolean =>
    facts.securityOptions.some((option) => option.split(',').includes(`name=${name}`));
  if (facts.cgroupDriver === 'none')
    findings.push({
      check: 'docker',
      severity: 'error',
      message: 'the Docker daemon has no control groups, so memory, CPU and process limits would not hold',
      fix: 'Rootless Docker needs cgroup v2 with delegation; or run the daemon as root.',
    });
  if (!has('seccomp'))
    findings.push({
      check: 'docker',
      severity: 'warning',
      message: 'the Docker daemon filters no system calls (seccomp is off)',
      fix: 'Use a kernel and a daemon with seccomp.',
    });
  if (facts.storageDriver === 'vfs')
    findings.push({
      check: 'docker',
      severity: 'warning',
      message: 'the storage driver "vfs" copies the whole image for each step',
      fix: "Use overlay2: put the daemon's data on ext4 or xfs (with ftype=1).",
    });
  if (has('userns'))
    findings.push({
      check: 'docker',
      severity: 'warning',
      message:
        'the Docker daemon remaps users, so root in a step cannot write files that root of this machine owns',
      fix: 'Run without userns-remap, or use microVMs (EXECUTOR_USE_FIRECRACKER=true).',
    });
  else if (!has('rootless'))
    findings.push({
      check: 'docker',
      severity: 'warning',
      message: "steps share this machine's kernel and user namespace: a hole in either lets them out",
      fix: 'For code that you do not trust use microVMs (EXECUTOR_USE_FIRECRACKER=true).',
    });
  return findings;
}

/** First versions without the known ways out of a container (CVE-2024-21626; CVE-2025-31133, -52565, -52881), by minor version. */
const mendedRunc = [
  [1, 2, 8],
  [1, 3, 3],
] as const;

export function runcFindings(version: string | undefined): Finding[] {
  if (!hasHole(version, mendedRunc)) return [];
  return [
    {
      check: 'runc',
      severity: 'warning',
      message: `runc ${version} has known ways out of a container (CVE-2024-21626, CVE-2025-31133, CVE-2025-52565, CVE-2025-52881), unless your distribution has fixed them in its own package`,
      fix: 'Upgrade to runc 1.2.8, 1.3.3 or newer, or to the newest package of your distribution.',
    },
  ];
}
