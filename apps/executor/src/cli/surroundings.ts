/** What a command of the program is given of the process it runs in. */
export interface CommandSurroundings {
  args: readonly string[];
  env: Readonly<Record<string, string | undefined>>;
  out(text: string): void;
  err(text: string): void;
  /** Calls `handler` at each SIGHUP, SIGINT and SIGTERM. */
  onSignal(handler: (name: string) => void): void;
}
