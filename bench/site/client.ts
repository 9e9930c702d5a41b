import { Pool } from 'undici';
import type { BenchInstance } from './bench-site.ts';

export interface Reply {
  status: number;
  body: unknown;
}

/** Calls an instance as many executors and one submitter would: each client has a connection of its own. */
export interface BenchClient extends AsyncDisposable {
  /** Submits a job of one step. @returns its id */
  submit(): Promise<number>;
  executor(endpoint: string, body: object): Promise<Reply>;
  /** A call on a job route, with the job's own token. */
  job(job: HeldJob, endpoint: string, body: object): Promise<Reply>;
}

export interface HeldJob {
  id: number;
  token: string;
  attempt: number;
  executorName: string;
}

export const queue = 'jobs';
const extensions = ['long-poll', 'attempt', 'confirm', 'limits', 'cancel-push', 'fleet'];

/** @param signal when it aborts, calls under way and later ones fail */
export function connect(instance: BenchInstance, connections: number, signal: AbortSignal): BenchClient {
  const pool = new Pool(instance.url, { connections, pipelining: 1, headersTimeout: 90_000 });
  signal.addEventListener('abort', () => void pool.destroy(), { once: true });

  async function post(path: string, headers: Record<string, string>, body: object): Promise<Reply> {
    const response = await pool.request({
      method: 'POST',
      path,
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
    const text = await response.body.text();
    if (response.statusCode >= 500) throw new Error(`${path}: ${response.statusCode} ${text}`);
    return { status: response.statusCode, body: text === '' ? undefined : JSON.parse(text) };
  }

  return {
    async submit() {
      const steps = [{ image: 'busybox:1', run: 'true' }];
      const reply = await post('/.api/jobs', { authorization: `token ${instance.adminToken}` }, { steps });
      if (reply.status !== 201) throw new Error(`submit: ${reply.status} ${JSON.stringify(reply.body)}`);
      return Number(Reflect.get(Object(reply.body), 'id'));
    },
    executor: (endpoint, body) =>
      post(
        `/.executors/queue/${queue}/${endpoint}`,
        { authorization: `token-executor ${instance.sharedSecret}` },
        { extensions, version: '6.10.0', kilnVersion: '0.1.0', ...body },
      ),
    job: ({ id, token, attempt, executorName }, endpoint, body) =>
      post(
        `/.executors/queue/${queue}/${endpoint}`,
        {
          authorization: `Bearer ${token}`,
          'x-sourcegraph-job-id': String(id),
          'x-sourcegraph-executor-name': executorName,
        },
        { executorName, jobId: id, attempt, ...body },
      ),
    [Symbol.asyncDispose]: () => (signal.aborted ? pool.destroy() : pool.close()),
  };
}

/** Dequeues once, held up to `waitSeconds`; undefined when there is nothing. */
export async function dequeue(
  client: BenchClient,
  executorName: string,
  waitSeconds: number,
): Promise<HeldJob | undefined> {
  const reply = await client.executor('dequeue', { executorName, waitSeconds });
  if (reply.status === 204) return undefined;
  if (reply.status !== 200) throw new Error(`dequeue: ${reply.status} ${JSON.stringify(reply.body)}`);
  const document = reply.body as { id: number; token: string; attempt: number };
  return { id: document.id, token: document.token, attempt: document.attempt, executorName };
}

export async function complete(client: BenchClient, job: HeldJob): Promise<void> {
  const reply = await client.job(job, 'markComplete', {});
  if (reply.status !== 204) throw new Error(`markComplete: ${reply.status} ${JSON.stringify(reply.body)}`);
}

/** Runs `work` by so many clients at once until `jobs` calls have been made. */
export async function inParallel(clients: number, jobs: number, work: (client: number) => Promise<void>) {
  let begun = 0;
  await Promise.all(
    Array.from({ length: clients }, async (_, client) => {
      while (begun++ < jobs) await work(client);
    }),
  );
}
