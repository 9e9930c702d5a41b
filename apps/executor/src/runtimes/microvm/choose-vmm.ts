import type { Finding } from '../runtime.ts';
import type { Verdict } from './accelerator.ts';
import type { Guest } from './guest/index.ts';
import {
  type Accelerator,
  createFirecracker,
  createQemu,
  type FirecrackerPrograms,
  qemuFinding,
  qemuVersion,
  type Unusable,
  type Vmm,
} from './vmm/index.ts';

/** `EXECUTOR_VMM` */
export type VmmSetting = 'auto' | 'firecracker' | 'qemu';

/** What runs the VMs of an executor. */
export interface ChosenVmm {
  vmm: Vmm;
  accelerator: Accelerator;
  /** The guest, as this VMM boots it. */
  guest: Guest;
  /** Why it is nothing faster; empty where it is the best there is. */
  because: string;
}

export interface ChoiceOptions {
  setting: VmmSetting;
  guest: Guest;
  find(): Promise<FirecrackerPrograms | Unusable>;
  /** The guest with a kernel that Firecracker boots. */
  forFirecracker(guest: Guest): Promise<Guest>;
  probe(vmm: Vmm, version: string, guest: Guest): Promise<Verdict>;
}

/**
 * Firecracker only where a test boot of it has worked. Otherwise QEMU, with KVM by the same proof, else with software emulation: as
 * strong an isolation, and slower.
 * @returns the reason, where Firecracker is asked for and cannot be had: nothing is taken in its place
 */
export async function chooseVmm(options: ChoiceOptions): Promise<ChosenVmm | Unusable> {
  const { setting, guest } = options;
  const firecracker = setting === 'qemu' ? undefined : await tryFirecracker(options);
  if (firecracker !== undefined && 'vmm' in firecracker) return firecracker;
  if (setting === 'firecracker' && firecracker !== undefined) return firecracker;
  const vmm = createQemu();
  const verdict = await options.probe(vmm, (await qemuVersion()) ?? '', guest);
  return { vmm, guest, ...verdict };
}

async function tryFirecracker(options: ChoiceOptions): Promise<ChosenVmm | Unusable> {
  const programs = await options.find();
  if ('because' in programs) return programs;
  const vmm = createFirecracker(programs);
  const guest = await options.forFirecracker(options.guest);
  const { accelerator, because } = await options.probe(vmm, programs.version, guest);
  if (accelerator === 'kvm') return { vmm, accelerator, guest, because };
  return {
    because: `Firecracker does not run here: ${because}`,
    fix: 'Use a machine on which KVM works, or let QEMU run the VMs (EXECUTOR_VMM=auto).',
  };
}

/** Of the programs that may run VMs here, before any is started. */
export async function vmmFindings(setting: VmmSetting, find: ChoiceOptions['find']): Promise<Finding[]> {
  const findings: Finding[] = [];
  if (setting !== 'qemu') findings.push(...firecrackerFindings(setting, await find()));
  if (setting !== 'firecracker') findings.push(qemuFinding(await qemuVersion()));
  return findings;
}

/** Of the sockets of a VM, before it is known what runs it. @param directory of any VM: all are of one length */
export async function longestSocketPath(
  directory: string,
  setting: VmmSetting,
  find: ChoiceOptions['find'],
): Promise<string> {
  const programs = setting === 'qemu' ? undefined : await find();
  const vmm = programs !== undefined && 'version' in programs ? createFirecracker(programs) : createQemu();
  return vmm.control(directory).socketPath;
}

function firecrackerFindings(setting: VmmSetting, programs: FirecrackerPrograms | Unusable): Finding[] {
  const check = 'firecracker';
  if ('version' in programs)
    return [{ check, severity: 'ok', message: `Firecracker ${programs.version} with its jailer`, fix: '' }];
  if (setting === 'firecracker')
    return [{ check, severity: 'error', message: programs.because, fix: programs.fix }];
  // Nobody has asked for it; one that is there and not used is worth a word.
  if (programs.missing === true) return [];
  return [{ check, severity: 'warning', message: `not used: ${programs.because}`, fix: programs.fix }];
}

/** How VMs run here, once that is known. */
export function choiceFinding(choice: ChosenVmm | Unusable): Finding {
  if (!('vmm' in choice))
    return { check: 'kvm', severity: 'error', message: choice.because, fix: choice.fix };
  if (choice.accelerator === 'kvm')
    return {
      check: 'kvm',
      severity: 'ok',
      message: `a test boot of ${choice.vmm.name} under KVM has worked`,
      fix: '',
    };
  return {
    check: 'kvm',
    severity: 'warning',
    message: `VMs run under software emulation, several times slower than the machine: ${choice.because}`,
    fix: 'Use a machine with hardware virtualisation (bare metal, or nested virtualisation turned on), and load the kvm module.',
  };
}
