import { maxSteps } from '@kiln/protocol';
import { ApiError } from '../../api-error.ts';

const maxFiles = 10_000;
const maxKeys = 100;
const maxSecrets = 100;
const maxPatterns = 1000;
const maxVariables = 1000;

/**
 * Refuses a submission with too many entries, before it is checked in detail: a body of 10 MiB has room for millions,
 * and a list of what is wrong with each of them would occupy the instance for many seconds.
 * @throws ApiError 400 `invalid_job`
 */
export function checkEntryCounts(body: unknown): void {
  check('the job', body, maxKeys);
  check('files', at(body, 'files'), maxFiles);
  check('secrets', at(body, 'secrets'), maxSecrets);
  check('clone', at(body, 'clone'), maxKeys);
  check('clone.sparse', at(at(body, 'clone'), 'sparse'), maxPatterns);
  check('resources', at(body, 'resources'), maxKeys);
  const steps = at(body, 'steps');
  check('steps', steps, maxSteps);
  if (!Array.isArray(steps)) return;
  for (const [index, step] of steps.entries()) {
    check(`steps[${index}]`, step, maxKeys);
    check(`steps[${index}].env`, at(step, 'env'), maxVariables);
  }
}

function check(what: string, value: unknown, max: number): void {
  if (typeof value !== 'object' || value === null) return;
  const count = Array.isArray(value) ? value.length : Object.keys(value).length;
  if (count > max)
    throw new ApiError(400, 'invalid_job', `${what}: there are ${count} entries, at most ${max} are allowed`);
}

function at(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? Reflect.get(value, key)
    : undefined;
}
