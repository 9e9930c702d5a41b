import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** A network namespace without a way out. It ends with the test. */
export interface NetworkNamespace extends AsyncDisposable {
  pid: number;
  /** `/proc/<pid>/ns/net` */
  path: string;
}

/** @param program keeps the namespace; it prints something when it is ready, and ends with its input */
export async function networkNamespace(program: readonly string[] = holder): Promise<NetworkNamespace> {
  const process = spawn('unshare', ['--net', '--', ...program], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(process.stdout, 'data');
  const { pid } = process;
  if (pid === undefined) throw new Error('the namespace could not be made');
  return {
    pid,
    path: `/proc/${pid}/ns/net`,
    async [Symbol.asyncDispose]() {
      if (process.exitCode !== null || process.signalCode !== null) return;
      const exited = once(process, 'exit');
      process.kill('SIGKILL');
      await exited;
    },
  };
}

const holder = ['sh', '-c', 'ip link set lo up; echo up; exec cat'];

/** Runs a program in a network namespace. @returns what it printed */
export async function inNamespace(namespace: string, argv: readonly string[]): Promise<string> {
  const { stdout } = await run('nsenter', [`--net=${namespace}`, '--', ...argv], {
    timeout: 60_000,
    maxBuffer: 16 * 1024 ** 2,
  });
  return stdout;
}

/** Lets a namespace pass on packets between its links, of both IP versions. */
export async function forwardPackets(namespace: string): Promise<void> {
  const script = 'echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding';
  await inNamespace(namespace, ['sh', '-c', script]);
}
