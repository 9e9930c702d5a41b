/** What a JSON value may be. */
export type Shape =
  | { is: 'text'; oneOf?: readonly string[]; like?: RegExp; longest?: number }
  | { is: 'count'; least?: number; most?: number; isOneOrEven?: true }
  | { is: 'flag' }
  | { is: 'object'; needs: Readonly<Record<string, Shape>>; takes: Readonly<Record<string, Shape>> };

/** @returns what is wrong with a value; undefined when nothing is */
export function mistakeIn(value: unknown, shape: Shape, where = 'body'): string | undefined {
  switch (shape.is) {
    case 'flag':
      return typeof value === 'boolean' ? undefined : `${where}: expected true or false`;
    case 'count': {
      const { least = 0, most = Number.MAX_SAFE_INTEGER, isOneOrEven = false } = shape;
      if (typeof value !== 'number' || !Number.isInteger(value)) return `${where}: expected a whole number`;
      if (value < least || value > most) return `${where}: ${value} is not in ${least}..${most}`;
      return isOneOrEven && value > 1 && value % 2 === 1 ? `${where}: ${value} is odd` : undefined;
    }
    case 'text':
      if (typeof value !== 'string') return `${where}: expected a text`;
      if (shape.oneOf?.includes(value) === false) return `${where}: unknown variant ${value}`;
      if (shape.like?.test(value) === false) return `${where}: ${value} is malformed`;
      return value.length > (shape.longest ?? value.length) ? `${where}: too long` : undefined;
    case 'object': {
      if (typeof value !== 'object' || value === null) return `${where}: expected an object`;
      const missing = Object.keys(shape.needs).find((key) => !(key in value));
      if (missing !== undefined) return `${where}: missing field ${missing}`;
      const known = { ...shape.needs, ...shape.takes };
      for (const [key, inner] of Object.entries(value)) {
        const expected = known[key];
        if (expected === undefined) return `${where}: unknown field ${key}`;
        const mistake = mistakeIn(inner, expected, `${where}.${key}`);
        if (mistake !== undefined) return mistake;
      }
      return undefined;
    }
  }
}
