/** One thing that was looked at. */
export interface Check {
  name: string;
  state: 'ok' | 'warning' | 'error';
  message: string;
  /** What to do about it; empty when all is well. */
  fix: string;
}

export function ok(name: string, message: string): Check {
  return { name, state: 'ok', message, fix: '' };
}

export function warning(name: string, message: string, fix: string): Check {
  return { name, state: 'warning', message, fix };
}

export function error(name: string, message: string, fix: string): Check {
  return { name, state: 'error', message, fix };
}
