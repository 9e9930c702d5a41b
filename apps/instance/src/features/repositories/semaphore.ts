/** Lets a number of holders in at a time; the others wait in the order of their coming. */
export interface Semaphore {
  /** Resolves when there is room. Disposing gives the place back. @throws the signal's reason when it aborts first */
  enter(signal: AbortSignal): Promise<Disposable>;
}

export function createSemaphore(places: number): Semaphore {
  let free = places;
  const waiting = new Set<() => void>();

  function place(): Disposable {
    let held = true;
    return {
      [Symbol.dispose]() {
        if (!held) return;
        held = false;
        const next = waiting.values().next();
        if (next.done) {
          free += 1;
        } else {
          waiting.delete(next.value);
          next.value();
        }
      },
    };
  }

  return {
    async enter(signal) {
      signal.throwIfAborted();
      if (free > 0) {
        free -= 1;
        return place();
      }
      const { promise, resolve, reject } = Promise.withResolvers<Disposable>();
      const onTurn = () => {
        signal.removeEventListener('abort', onAbort);
        resolve(place());
      };
      const onAbort = () => {
        waiting.delete(onTurn);
        reject(signal.reason);
      };
      waiting.add(onTurn);
      signal.addEventListener('abort', onAbort, { once: true });
      return promise;
    },
  };
}
