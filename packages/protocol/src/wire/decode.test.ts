import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { wireArray, wireBoolean, wireInteger, wireObject, wireText } from './decode.ts';

const schema = wireObject({
  executorName: wireText,
  jobId: wireInteger,
  fetchTags: wireBoolean,
  jobIds: wireArray(z.string()),
  inner: wireObject({ queueName: wireText }).optional(),
});
const zero = { executorName: '', jobId: 0, fetchTags: false, jobIds: [] };

describe('an object on the wire', () => {
  it('has zero values for what is missing or null', () => {
    expect(schema.parse({})).toEqual(zero);
    expect(
      schema.parse({ executorName: null, jobId: null, fetchTags: null, jobIds: null, inner: null }),
    ).toEqual(zero);
  });

  it('is read whatever the case of its keys', () => {
    const changeCase = fc.func(fc.boolean());
    fc.assert(
      fc.property(changeCase, (upper) => {
        const recase = (key: string) =>
          [...key]
            .map((letter, at) => (upper(key, at) ? letter.toUpperCase() : letter.toLowerCase()))
            .join('');
        const body = {
          [recase('executorName')]: 'deadbeef',
          [recase('jobId')]: 42,
          [recase('fetchTags')]: true,
          [recase('jobIds')]: ['1'],
          [recase('inner')]: { [recase('queueName')]: 'batches' },
        };
        expect(schema.parse(body)).toEqual({
          executorName: 'deadbeef',
          jobId: 42,
          fetchTags: true,
          jobIds: ['1'],
          inner: { queueName: 'batches' },
        });
      }),
    );
  });

  it('prefers the exact key, and ignores those it does not know', () => {
    expect(schema.parse({ JOBID: 1, jobId: 2, jobid: 3, more: [], constructor: 5 })).toEqual({
      ...zero,
      jobId: 2,
    });
  });

  it('takes nothing from a prototype', () => {
    expect(schema.parse(JSON.parse('{"__proto__": {"jobId": 7}}'))).toEqual(zero);
  });

  it.each([null, 'text', 1, [], [{}]])('is not %j', (body) => {
    expect(schema.safeParse(body).success).toBe(false);
  });

  it.each([
    { jobId: '42' },
    { jobId: 1.5 },
    { executorName: 1 },
    { fetchTags: 'true' },
    { jobIds: 'x' },
    { jobIds: [null] },
  ])('refuses %j', (body) => {
    expect(schema.safeParse(body).success).toBe(false);
  });
});
