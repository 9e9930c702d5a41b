import type { DockerStep } from '@kiln/protocol';
import type { PlainJob } from './plain-instance.ts';

/** A container step as a plain instance sends it. */
export function plainStep(commands: string[], more: Partial<DockerStep> = {}): DockerStep {
  return { key: '', image: 'any', commands, dir: '', env: [], ...more };
}

/** What a step of a job has written so far. */
export function outputOf(job: PlainJob, key = 'step.docker.0'): string {
  return job.logs.find((entry) => entry.key === key)?.out ?? '';
}

/** Waits for what gives no event of its own. */
export async function until(condition: () => boolean | Promise<boolean>, seconds = 60): Promise<void> {
  const giveUpAt = performance.now() + seconds * 1000;
  while (!(await condition())) {
    if (performance.now() > giveUpAt) throw new Error(`it did not come about within ${seconds} s`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
