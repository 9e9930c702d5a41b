import { ImageError } from '../image-error.ts';

/** Why a registry gave nothing. */
export type RegistryRefusal = 'denied' | 'missing' | 'throttled' | 'unreachable' | 'broken';

export class RegistryError extends ImageError {
  readonly refusal: RegistryRefusal;
  constructor(refusal: RegistryRefusal, message: string, cause?: unknown) {
    super(message, { infrastructure: refusal !== 'denied' && refusal !== 'missing', cause });
    this.refusal = refusal;
  }
}
