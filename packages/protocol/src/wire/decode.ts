import { z } from 'zod';

/**
 * An object as the reference's JSON decoder reads it: keys match without regard to case (an exact match wins),
 * unknown keys are ignored, and `null` counts as missing. Source: the reference.
 */
export function wireObject<Shape extends z.ZodRawShape>(shape: Shape) {
  const keys = Object.keys(shape);
  return z.preprocess((value) => matchKeys(value, keys), z.object(shape));
}

export const wireText = z
  .string()
  .nullish()
  .transform((value) => value ?? '');
export const wireInteger = z
  .int()
  .nullish()
  .transform((value) => value ?? 0);
export const wireBoolean = z
  .boolean()
  .nullish()
  .transform((value) => value ?? false);
export function wireArray<Item extends z.ZodType>(item: Item) {
  return z
    .array(item)
    .nullish()
    .transform((value) => value ?? []);
}

function matchKeys(value: unknown, keys: readonly string[]): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const byFolded = new Map<string, unknown>();
  for (const [key, item] of Object.entries(value)) byFolded.set(key.toLowerCase(), item);
  const matched: Record<string, unknown> = {};
  for (const key of keys) {
    const item: unknown = Object.hasOwn(value, key)
      ? Reflect.get(value, key)
      : byFolded.get(key.toLowerCase());
    if (item !== undefined && item !== null) matched[key] = item;
  }
  return matched;
}
