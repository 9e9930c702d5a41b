/** Lets so many at once have a connection for one kind of work, so that this kind never has all of them. */
export interface Turns {
  /** Runs in the order of the calls. */
  take<Result>(run: () => Promise<Result>): Promise<Result>;
}

export function createTurns(atOnce: number): Turns {
  let free = atOnce;
  const waiting: (() => void)[] = [];
  return {
    async take(run) {
      if (free > 0) free--;
      else await new Promise<void>((resolve) => waiting.push(resolve));
      try {
        return await run();
      } finally {
        const next = waiting.shift();
        if (next) next();
        else free++;
      }
    },
  };
}
