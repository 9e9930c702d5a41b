import { z } from 'zod';
import type { Sandbox } from '../runtimes/runtime.ts';
import { StepFailedError } from './failure.ts';

const skipFile = 'skip.json';
const maxBytes = 64 * 2 ** 10;
const skipSchema = z.object({ nextStep: z.string() });

/**
 * Reads and deletes the file by which a `.pre` step says that the steps after it are not needed (reference section
 * 3.11).
 * @returns key of the step to go on with, or undefined when there is no such file
 * @throws StepFailedError when the file cannot be read or understood: going on would run steps that were not wanted
 */
export async function takeSkip(sandbox: Sandbox): Promise<string | undefined> {
  const bytes = await sandbox.readFile(skipFile, maxBytes);
  const existed = await sandbox.removeFile(skipFile);
  if (bytes === undefined) {
    if (!existed) return undefined;
    throw new StepFailedError(`${skipFile} is no plain file of at most ${maxBytes / 2 ** 10} KiB`);
  }
  try {
    return skipSchema.parse(JSON.parse(Buffer.from(bytes).toString('utf8'))).nextStep;
  } catch (cause) {
    throw new StepFailedError(`${skipFile} is not of the form {"nextStep": "step.<n>.pre"}`, { cause });
  }
}
