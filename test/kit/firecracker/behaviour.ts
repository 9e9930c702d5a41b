import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** How the stand-in for Firecracker behaves; all absent: well. */
export interface Behaviour {
  /** What it and its jailer call their version. */
  version?: string;
  jailerVersion?: string;
  /** The jailer complains and ends. */
  jailerFails?: boolean;
  /** `PUT /vsock`: refused with a reason, never answered, or the process ends there. */
  refuses?: string;
  ignores?: string;
  endsAt?: string;
  /** Nobody listens in the guest. */
  agentIsMissing?: boolean;
  /** The first so many connections to the guest's port are closed: it still boots. */
  connectionsRefused?: number;
}

export interface SeenRequest {
  what: string;
  body: unknown;
}

const files = { behaviour: 'behaviour.json', requests: 'requests', jailer: 'jailer.json' } as const;

export function writeBehaviour(directory: string, behaviour: Behaviour): void {
  writeFileSync(join(directory, files.behaviour), JSON.stringify(behaviour));
}

export function readBehaviour(directory: string): Behaviour {
  return JSON.parse(readFileSync(join(directory, files.behaviour), 'utf8'));
}

export function noteRequest(directory: string, request: SeenRequest): void {
  appendFileSync(join(directory, files.requests), `${JSON.stringify(request)}\n`);
}

/** What the stand-in was asked, in order. */
export function requestsSeen(directory: string): SeenRequest[] {
  const lines = readFileSync(join(directory, files.requests), 'utf8').trim().split('\n');
  return lines.map((line) => JSON.parse(line));
}

export interface SeenJailer {
  arguments: string[];
  environment: Record<string, string>;
  /** As the process sees it. */
  pid: number;
  parentPid: number;
  networkNamespace: string;
  ipcNamespace: string;
}

export function noteJailer(directory: string, seen: SeenJailer): void {
  writeFileSync(join(directory, files.jailer), JSON.stringify(seen));
}

export function jailerSeen(directory: string): SeenJailer {
  return JSON.parse(readFileSync(join(directory, files.jailer), 'utf8'));
}
