import { join } from 'node:path';
import { z } from 'zod';
import { type SandboxRecords, sandboxRecords } from '../records/index.ts';

const recordSchema = z.object({
  executor: z.string().min(1),
  job: z.number(),
  attempt: z.number(),
  sandbox: z.string().regex(/^[0-9a-f]{12}$/),
  name: z.string(),
  directory: z.string(),
  uid: z.number(),
  link: z.string(),
  table: z.string(),
  cgroup: z.string(),
  /** Of this machine's end of the VM's network; absent: that of whoever removes it. */
  networkNamespace: z.string().optional(),
  /** The VMM, as soon as there is one: exactly this process is killed, never another of the same number. */
  process: z.object({ pid: z.number().int().positive(), startedAt: z.string().min(1) }).optional(),
  /** Where the agent of one that is left running is reached; absent: as QEMU has it. */
  control: z.object({ socketPath: z.string(), vsockPort: z.number().optional() }).optional(),
  /** Left running on purpose (`executor test-vm`), until it is removed by name. */
  kept: z.boolean().optional(),
});
export type VmRecord = z.infer<typeof recordSchema>;

/** Records of the VMs of a data directory. */
export function vmRecords(dataDirectory: string): SandboxRecords<VmRecord> {
  return sandboxRecords(join(dataDirectory, 'microvm', 'records'), recordSchema);
}
