import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const commandSeconds = 60;
const env = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };

/** A process in a network namespace of its own. */
export interface Member {
  pid: number;
  namespace: string;
  /** Sends a line of JSON and takes one. */
  ask(question: unknown): Promise<unknown>;
  /** Runs `ip` in its namespace, once for each line of parameters. @throws Error with what it said */
  ip(commands: readonly string[]): Promise<void>;
  /** Runs a shell script in its namespace. @throws Error with what it said */
  script(text: string): Promise<void>;
  end(): Promise<void>;
}

/**
 * @param program of Node: it writes a line when it is ready, answers lines by lines, and ends with its input
 * @param signal also for its answers
 * @throws Error when no namespace can be made, or the program ends
 */
export async function openMember(program: string, signal: AbortSignal): Promise<Member> {
  const child = spawn('unshare', ['--net', '--', process.execPath, '-e', program], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env,
  });
  const failed = Promise.withResolvers<never>();
  let complaint = '';
  child.stderr.on('data', (bytes: Buffer) => {
    complaint = (complaint + bytes.toString('utf8')).slice(-1000);
  });
  child.on('error', failed.reject);
  child.on('exit', () => failed.reject(new Error(complaint.trim() || 'a network namespace cannot be made')));
  failed.promise.catch(() => undefined);
  signal.addEventListener('abort', () => failed.reject(signal.reason), { once: true });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const nextLine = async (): Promise<string> => {
    const { done, value } = await Promise.race([lines.next(), failed.promise]);
    // Its end tells why.
    return done === true ? failed.promise : value;
  };
  const namespace = `/proc/${child.pid}/ns/net`;
  try {
    await nextLine();
  } catch (error) {
    await end(child);
    throw error;
  }
  return {
    pid: child.pid ?? 0,
    namespace,
    async ask(question) {
      child.stdin.write(`${JSON.stringify(question)}\n`);
      return JSON.parse(await nextLine());
    },
    async ip(commands) {
      for (const command of commands) await runIn(namespace, ['ip', ...command.split(' ')]);
    },
    script: (text) => runIn(namespace, ['sh', '-ec', text]),
    end: () => end(child),
  };
}

async function runIn(namespace: string, argv: readonly string[]): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const options = { env, timeout: commandSeconds * 1000 };
  execFile('nsenter', [`--net=${namespace}`, '--', ...argv], options, (error, _, complaint) =>
    error === null ? resolve() : reject(new Error(complaint.trim() || error.message)),
  );
  await promise;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}
