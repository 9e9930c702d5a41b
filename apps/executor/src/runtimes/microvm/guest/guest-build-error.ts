/** The guest cannot be built or used; the message says what to do. */
export class GuestBuildError extends Error {
  override readonly name = 'GuestBuildError';
}
