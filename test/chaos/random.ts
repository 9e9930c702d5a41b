/** A source of numbers that gives the same ones for the same seed, so that what a fault hit can be tried again. */
export interface Random {
  /** 0 up to, not including, 1. */
  next(): number;
  /** A whole number from `min` to `max`, both possible. */
  between(min: number, max: number): number;
  chance(probability: number): boolean;
  /** One of them. */
  of<Item>(items: readonly Item[]): Item;
}

/** The seed of this run: `CHAOS_SEED`, else one that nobody chose. It is printed, for a second try. */
export function chooseSeed(): number {
  const given = Number(process.env['CHAOS_SEED']);
  const seed = Number.isInteger(given) && given > 0 ? given : (Date.now() % 1_000_000_000) + 1;
  process.stdout.write(`chaos: CHAOS_SEED=${seed}\n`);
  return seed;
}

/** Marsaglia's xorshift with 32 bits; far from cryptographic, and good enough to spread faults over time. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0 || 1;
  const next = () => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 2 ** 32;
  };
  return {
    next,
    between: (min, max) => min + Math.floor(next() * (max - min + 1)),
    chance: (probability) => next() < probability,
    of(items) {
      const item = items[Math.floor(next() * items.length)];
      if (item === undefined) throw new RangeError('nothing to choose from');
      return item;
    },
  };
}
