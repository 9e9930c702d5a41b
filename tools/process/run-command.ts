import { spawn } from 'node:child_process';

export interface RunOptions {
  cwd: string;
  env: NodeJS.ProcessEnv;
  signal: AbortSignal;
  /** `show`: the command writes where this process does. Default: its output is returned. */
  output?: 'show';
}

/** Runs a program to its end. Resolves also when it fails; rejects when it cannot be started or `signal` aborts. */
export async function runCommand(
  program: string,
  args: readonly string[],
  options: RunOptions,
): Promise<{ code: number; output: string }> {
  const child = spawn(program, args, {
    cwd: options.cwd,
    env: options.env,
    signal: options.signal,
    killSignal: 'SIGTERM',
    stdio: options.output === 'show' ? 'inherit' : ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  child.on('error', reject);
  child.on('close', (code) => resolve(code ?? 1));
  return { code: await promise, output };
}
