import { join } from 'node:path';
import { z } from 'zod';
import { type SandboxRecords, sandboxRecords } from '../records/index.ts';

const recordSchema = z.object({
  executor: z.string().min(1),
  job: z.number(),
  attempt: z.number(),
  sandbox: z.string().regex(/^[0-9a-f]{12}$/),
  network: z.string(),
  bridge: z.string().regex(/^kb[0-9a-f]{12}$/),
  table: z.string().regex(/^kiln_[0-9a-f]{12}$/),
  cgroup: z.string().regex(/^\/kiln-[0-9a-f]{12}$/),
  socketPath: z.string(),
  networkNamespace: z.string().optional(),
  /** When a sweep first removed the sandbox, in milliseconds since 1970. */
  removedAt: z.number().optional(),
});
type DockerRecord = z.infer<typeof recordSchema>;

/** Records of what the Docker runtime of a data directory has on the machine. */
export function dockerRecords(dataDirectory: string): SandboxRecords<DockerRecord> {
  return sandboxRecords(join(dataDirectory, 'docker'), recordSchema);
}
