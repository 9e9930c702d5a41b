import { PgBoss } from 'pg-boss';
import type { Peer } from './peer.ts';

const queue = 'nothing';
const insertBatch = 5000;

export const pgBoss: Peer = {
  name: 'pg-boss',
  settings: (clients) =>
    `batchSize ${clients}, fetch and complete in batches by hand (no waits between polls), pool 10`,
  async run({ connectionString, jobs, clients }) {
    const boss = new PgBoss({ connectionString, max: 10, supervise: false, schedule: false });
    boss.on('error', (error) => {
      throw error;
    });
    await boss.start();
    await boss.createQueue(queue);
    for (let inserted = 0; inserted < jobs; inserted += insertBatch) {
      const size = Math.min(insertBatch, jobs - inserted);
      await boss.insert(
        queue,
        Array.from({ length: size }, () => ({ data: {} })),
      );
    }

    const started = performance.now();
    if (clients === 1) await drainOneByOne(boss, jobs);
    else await drainInBatches(boss, jobs, clients);
    const seconds = (performance.now() - started) / 1000;
    await boss.stop({ graceful: false });
    return seconds;
  },
};

async function drainOneByOne(boss: PgBoss, jobs: number): Promise<void> {
  for (let done = 0; done < jobs; done++) {
    const [job] = await boss.fetch(queue);
    if (!job) throw new Error(`pg-boss gave out ${done} of ${jobs} jobs`);
    await boss.complete(queue, job.id);
  }
}

async function drainInBatches(boss: PgBoss, jobs: number, batchSize: number): Promise<void> {
  for (let done = 0; done < jobs; ) {
    const batch = await boss.fetch(queue, { batchSize });
    if (batch.length === 0) throw new Error(`pg-boss gave out ${done} of ${jobs} jobs`);
    await boss.complete(
      queue,
      batch.map((job) => job.id),
    );
    done += batch.length;
  }
}
