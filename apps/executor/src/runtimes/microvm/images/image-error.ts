/** An image cannot be used, because of what it is or where it comes from; the message is for people and quotes nothing secret. */
export class ImageError extends Error {
  override readonly name = 'ImageError';
  /** Whether the same may work later or elsewhere: the registry or this machine is at fault, not the image. */
  readonly infrastructure: boolean;
  constructor(message: string, options: { infrastructure?: boolean; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.infrastructure = options.infrastructure ?? false;
  }
}
