import { SandboxError } from '../runtime.ts';
import { type ImageReference, parseImageReference } from './image-reference.ts';

/** Reads the image of a step. @throws SandboxError: a mistake of the job */
export function parseStepImage(text: string): ImageReference {
  try {
    return parseImageReference(text);
  } catch (error) {
    throw new SandboxError(error instanceof Error ? error.message : String(error), {
      infrastructure: false,
      cause: error,
    });
  }
}
