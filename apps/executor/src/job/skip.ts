import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Sandbox } from '../runtimes/runtime.ts';
import { StepFailedError } from './failure.ts';

const skipFile = 'skip.json';
const skipSchema = z.object({ nextStep: z.string() });

/**
 * Reads and deletes the file by which a `.pre` step says that the steps after it are not needed (reference section
 * 3.11).
 * @returns key of the step to go on with, or undefined when there is no such file
 * @throws StepFailedError when the file cannot be understood
 */
export async function takeSkip(sandbox: Sandbox, workspaceDirectory: string): Promise<string | undefined> {
  const bytes = await sandbox.readFile(skipFile, 64 * 2 ** 10);
  if (bytes === undefined) return undefined;
  await rm(join(workspaceDirectory, skipFile), { force: true });
  try {
    return skipSchema.parse(JSON.parse(Buffer.from(bytes).toString('utf8'))).nextStep;
  } catch (cause) {
    throw new StepFailedError(`${skipFile} is not of the form {"nextStep": "step.<n>.pre"}`, { cause });
  }
}
