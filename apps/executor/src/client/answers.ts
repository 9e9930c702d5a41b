import { messages } from '@kiln/protocol';
import { InstanceError } from './errors.ts';
import type { Answer } from './transport.ts';

/** What an answer that is neither 200 nor 204 means. `what` names the call for people. */
export function failureOf(answer: Answer, what: string, queue?: string): InstanceError {
  const { status } = answer;
  const said = errorText(answer);
  const quoted = said === '' ? '' : `: ${said}`;
  if (status === 409 && said === messages.staleAttempt)
    return new InstanceError('stale', `${what}: another attempt of the job has begun`, { status });
  // The reference answers a log call for a job that is not this executor's with a 500 and this text.
  if (said === messages.unknownJob)
    return new InstanceError('gone', `${what}: the instance no longer counts the job as this executor's`, {
      status,
    });
  if (status === 401 || status === 403)
    return new InstanceError(
      'unauthorized',
      `${what}: the instance refused the credentials (${status})${quoted}`,
      { status },
    );
  if (status === 404 && queue !== undefined && said.startsWith('404 page not found'))
    return new InstanceError(
      'unknown_queue',
      `${what}: the instance has no queue ${JSON.stringify(queue)}; check EXECUTOR_QUEUE_NAME and EXECUTOR_QUEUE_NAMES (a Sourcegraph instance has batches and codeintel only), and that EXECUTOR_FRONTEND_URL is the instance's own address`,
      { status },
    );
  if (status === 404 || status === 410)
    return new InstanceError('gone', `${what}: not found (${status})${quoted}`, { status });
  if (said.includes('Invalid queue name(s)'))
    return new InstanceError('unknown_queue', `${what}: ${said}`, { status });
  if (status === 429 || (status >= 500 && status !== 501))
    return new InstanceError('unreachable', `${what}: the instance answered ${status}${quoted}`, { status });
  return new InstanceError('rejected', `${what}: unexpected status code ${status}${quoted}`, { status });
}

/** The text of an error answer: `{"error": "..."}`, or plain text. At most 500 characters of it. */
function errorText(answer: Answer): string {
  const text = answer.body.subarray(0, 2000).toString('utf8').trim();
  try {
    const parsed: unknown = JSON.parse(text);
    if (parsed === null) return '';
    const error: unknown = typeof parsed === 'object' ? Reflect.get(parsed, 'error') : undefined;
    if (typeof error === 'string') return error.slice(0, 500);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  return text.slice(0, 500);
}
