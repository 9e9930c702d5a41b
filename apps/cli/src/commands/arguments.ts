import { maxPageSize } from '@kiln/protocol';
import { InvalidArgumentError } from 'commander';

export function jobId(text: string): number {
  return wholeNumber(text.replace(/^#/, ''), 1, Number.MAX_SAFE_INTEGER, 'a job is named by its number');
}

export function attemptNumber(text: string): number {
  return wholeNumber(text, 1, Number.MAX_SAFE_INTEGER, 'attempts count from 1');
}

export function pageSize(text: string): number {
  return wholeNumber(text, 1, maxPageSize, `a whole number from 1 to ${maxPageSize}`);
}

export function tokenId(text: string): number {
  return wholeNumber(text, 1, Number.MAX_SAFE_INTEGER, 'a token is named by its number');
}

export function configVersion(text: string): number {
  return wholeNumber(text, 1, 2 ** 31 - 1, 'a version is named by its number, see kiln config history');
}

export function days(text: string): number {
  return wholeNumber(text, 1, 3650, 'a whole number of days from 1 to 3650');
}

export function priority(text: string): number {
  return wholeNumber(text, -100, 100, 'a whole number from -100 to 100');
}

export function depth(text: string): number {
  return wholeNumber(text, 0, 1, '1 for the commit alone, 0 for the whole history');
}

export function cpus(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value <= 0) {
    throw new InvalidArgumentError('a number such as 2 or 0.5');
  }
  return value;
}

/** For options that may be given more than once. */
export function collect(value: string, previous: string[]): string[] {
  return [...previous, value];
}

function wholeNumber(text: string, min: number, max: number, rule: string): number {
  const value = /^-?\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) throw new InvalidArgumentError(`${rule}.`);
  return value;
}
