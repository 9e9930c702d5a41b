import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { QueueName } from '@kiln/protocol';
import type { InstanceClient, JobClient } from '../../client/index.ts';
import { openGitProxy, proxyKeyHeader } from '../../workspace/index.ts';
import { type Check, error, ok, warning } from './check.ts';

const run = promisify(execFile);
const gitSeconds = 15;
/** No instance has it: that it says so shows that it would give one that it has. */
const noRepository = 'kiln-validate/no-such-repository';

/** Whether git gets as far as the instance's repositories, on the way that clones of jobs take. */
export async function checkClone(
  client: InstanceClient,
  queue: QueueName,
  env: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
): Promise<Check> {
  const statuses: number[] = [];
  const job = client.forJob({ id: 0, queue, attempt: undefined, token: '', executorName: 'validate' });
  const observed: Pick<JobClient, 'forward'> = {
    async forward(...call) {
      const answer = await job.forward(...call);
      statuses.push(answer.statusCode);
      return answer;
    },
  };
  const home = await mkdtemp(join(tmpdir(), 'kiln-validate-'));
  try {
    await using proxy = await openGitProxy(observed, noRepository, signal);
    await writeFile(join(home, '.gitconfig'), `[http]\n\textraHeader = ${proxyKeyHeader}: ${proxy.key}\n`, {
      mode: 0o600,
    });
    const complaint = await listRemote(proxy.remoteUrl, home, env, signal);
    return judged(statuses.at(-1), complaint);
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

/** @returns what git said */
async function listRemote(
  url: string,
  home: string,
  env: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
): Promise<string> {
  try {
    await run('git', ['ls-remote', url], {
      env: {
        PATH: env['PATH'] ?? '',
        HOME: home,
        GIT_CONFIG_NOSYSTEM: '1',
        GIT_TERMINAL_PROMPT: '0',
        no_proxy: '*',
        LC_ALL: 'C.UTF-8',
      },
      timeout: gitSeconds * 1000,
      signal,
    });
    return '';
  } catch (cause) {
    const said: unknown = Reflect.get(Object(cause), 'stderr');
    return (typeof said === 'string' && said.trim()) || (cause instanceof Error ? cause.message : '');
  }
}

/** @param status of the instance's answer; undefined when git never asked it */
export function judged(status: number | undefined, complaint: string): Check {
  const lastLine = complaint.split('\n').at(-1) ?? '';
  if (status === undefined)
    return error(
      'clone',
      `git does not speak HTTP here: ${lastLine}`,
      'Install git with its HTTP helper (Debian: apt-get install git).',
    );
  if (status === 404 || status === 200)
    return ok('clone', 'git reaches the repositories of the instance, through the proxy that clones use');
  // Only jobs may: the shared secret was not taken for one, and that is the setting's meaning.
  if (status === 403 || status === 401)
    return warning(
      'clone',
      `the instance gives repositories to jobs only (${status}), so no clone was tried`,
      'Nothing, if executors.requireJobTokens is set on the instance; else compare EXECUTOR_FRONTEND_PASSWORD with executors.accessToken.',
    );
  return error(
    'clone',
    `the instance answers ${status} to git`,
    'Look at what stands between this machine and the instance (a reverse proxy that does not pass /.executors/git/), and at the log of the instance.',
  );
}
