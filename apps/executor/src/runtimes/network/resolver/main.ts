import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Command, Report } from './commands.ts';
import { type JobLookups, serveLookups } from './job-lookups.ts';
import { dropPrivileges } from './privileges.ts';

/**
 * The program that answers jobs' lookups: one process of an executor, in the network namespace of its jobs' networks. It does what its
 * input says, a command a line, and reports on its output. It ends when its input does, which is when the executor ends; while a
 * VM that outlives the executor needs it, when that is gone.
 */
dropPrivileges();

interface Served extends JobLookups {
  gateway: string;
  outlives: boolean;
  told: Set<string>;
}

const served = new Map<string, Served>();
let isOrphan = false;
const lookSeconds = 5;
/** Of names and addresses that are told for each job. */
const mostTold = 32;

// Who has ended reads no reports; that is said by the end of the input.
process.stdout.on('error', () => undefined);
createInterface({ input: process.stdin })
  .on('line', (line) => void serve(JSON.parse(line) as Command))
  .on('close', () => {
    isOrphan = true;
    for (const [job, { outlives }] of served) if (!outlives) end(job);
    endIfIdle();
  });
setInterval(() => void endWithNetworks(), lookSeconds * 1000);

async function serve({ job, lookups, port, outlives }: Command): Promise<void> {
  const told = new Set<string>();
  try {
    const serving = await serveLookups(lookups, port, (name, address) => {
      const text = `${name} ${address}`;
      if (told.has(text) || told.size >= mostTold) return;
      told.add(text);
      report({ job, removed: { name, address } });
    });
    // A VM that is started once more has another network.
    served.get(job)?.close();
    served.set(job, { ...serving, gateway: lookups.gateway, outlives, told });
    report({ job, port: serving.port });
  } catch (error) {
    report({ job, failed: error instanceof Error ? error.message : String(error) });
  }
}

/** A job's lookups end with its network, whatever became of who asked for them. */
async function endWithNetworks(): Promise<void> {
  for (const [job, one] of served) {
    const isThere = await isOwnAddress(one.gateway);
    // Meanwhile the job may have another network.
    if (!isThere && served.get(job) === one) end(job);
  }
  endIfIdle();
}

/** Asked of the system by using it: the list of interfaces leaves out those without anybody at the other end. */
async function isOwnAddress(address: string): Promise<boolean> {
  const socket = createSocket('udp4');
  try {
    socket.bind(0, address);
    await once(socket, 'listening');
    return true;
  } catch (error) {
    // Whatever else fails, such as too many open files, says nothing of the address.
    return Reflect.get(Object(error), 'code') !== 'EADDRNOTAVAIL';
  } finally {
    socket.close();
  }
}

function end(job: string): void {
  served.get(job)?.close();
  served.delete(job);
  report({ job, ended: true });
}

function endIfIdle(): void {
  if (isOrphan && served.size === 0) process.exit();
}

function report(line: Report): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
