/** A terminal that can be passed on to a shell elsewhere. */
export interface TerminalInput {
  size(): { rows: number; columns: number };
  /**
   * Passes on every key as it is pressed, and each change of size.
   * @returns gives the terminal back
   */
  take(onBytes: (bytes: Uint8Array) => void, onResize: () => void): () => void;
}

/** What a command of the program is given of the process it runs in. */
export interface CommandSurroundings {
  args: readonly string[];
  env: Readonly<Record<string, string | undefined>>;
  out(text: string | Uint8Array): void;
  err(text: string | Uint8Array): void;
  /** Where a person types, when there is one. */
  terminal?: TerminalInput | undefined;
  /** Calls `handler` at each SIGHUP, SIGINT and SIGTERM. */
  onSignal(handler: (name: string) => void): void;
}
