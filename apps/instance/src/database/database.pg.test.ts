import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestDatabase, type TestDatabase } from '../../../../test/kit/database.ts';

describe('database', () => {
  let test: TestDatabase;
  beforeAll(async () => {
    test = await startTestDatabase();
  });
  afterAll(() => test[Symbol.asyncDispose]());

  it('runs statements and turns 64-bit integers into numbers', async () => {
    expect(await test.database.query('select $1::bigint as id', [42])).toEqual([{ id: 42 }]);
  });
});
