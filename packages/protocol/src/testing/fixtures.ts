import { readFileSync } from 'node:fs';

/** One request of an executor and what a genuine instance answers. */
export interface Exchange {
  name: string;
  request: { method: string; path: string; body: unknown };
  /** `document`: the body is the document of that name. */
  response: { status: number; body?: unknown; document?: string };
}

/** The contents of `fixtures/<name>.json`. */
export function readFixture(name: string): unknown {
  return JSON.parse(readFileSync(new URL(`../../fixtures/${name}.json`, import.meta.url), 'utf8'));
}

export const documentNames = [
  'batches-native-v2',
  'batches-v1',
  'batches-v2',
  'codeintel-v1',
  'codeintel-v2',
  'minimal-v1',
  'minimal-v1-multi-queue',
  'minimal-v2',
] as const;

export function readDocument(name: string): Record<string, unknown> {
  return readFixture(`documents/${name}`) as Record<string, unknown>;
}

export function readExchanges<More = unknown>(name: string): (Exchange & More)[] {
  return readFixture(name) as (Exchange & More)[];
}
