import { randomBytes, randomInt } from 'node:crypto';
import { join } from 'node:path';

/** Users of VMs: far from those of people, of services and of user namespaces' usual ranges. */
const firstUid = 1_900_000_000;
const uids = 100_000_000;

/** Everything one VM puts on the machine, fixed before any of it is made. */
export interface VmNames {
  executor: string;
  job: number;
  attempt: number;
  /** 12 hexadecimal characters, never reused. */
  sandbox: string;
  /** Shown in the process list, and to `executor attach`. */
  name: string;
  /** Drives and sockets. */
  directory: string;
  /** User and group of the VMM. */
  uid: number;
  /** This machine's end of the VM's network; at most 15 characters. */
  link: string;
  /** nftables table of family `inet`. */
  table: string;
  /** Below each hierarchy's root. */
  cgroup: string;
}

/** @param vmsDirectory parent of the VMs' own directories */
export function vmNames(
  of: { executor: string; job: number; attempt: number },
  prefix: string,
  vmsDirectory: string,
): VmNames {
  const sandbox = randomBytes(6).toString('hex');
  const readable = prefix.replace(/[^A-Za-z0-9_.-]/g, '_').slice(0, 40);
  return {
    ...of,
    sandbox,
    name: `${readable}-${of.job}-${of.attempt}-${sandbox}`,
    directory: join(vmsDirectory, sandbox),
    uid: firstUid + randomInt(uids),
    link: `kb${sandbox}`,
    table: `kiln_${sandbox}`,
    cgroup: `/kiln-vm-${sandbox}`,
  };
}

/** Where the state of a VM that is being saved grows: no file of the VM's user. */
export function snapshotFile({ directory }: Pick<VmNames, 'directory'>): string {
  return `${directory}.snapshot`;
}

/** Whether a record names only what a VM of this directory could have: it is removed by root. */
export function areVmNames(names: VmNames, vmsDirectory: string): boolean {
  return (
    names.directory === join(vmsDirectory, names.sandbox) &&
    names.link === `kb${names.sandbox}` &&
    names.table === `kiln_${names.sandbox}` &&
    names.cgroup === `/kiln-vm-${names.sandbox}`
  );
}
