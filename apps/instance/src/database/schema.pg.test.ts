import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { startTestDatabase } from '../../../../test/kit/database.ts';
import { dumpSchema } from './schema-dump.ts';

const snapshot = new URL('./schema.snapshot.sql', import.meta.url);

describe('the schema', () => {
  it('is the one of schema.snapshot.sql (UPDATE_SCHEMA_SNAPSHOT=1 writes it anew)', async () => {
    await using test = await startTestDatabase();
    const schema = `-- What the migrations amount to. Written by a test; see CONTRIBUTING.md.\n\n${await dumpSchema(test.database)}`;
    if (process.env['UPDATE_SCHEMA_SNAPSHOT'] === '1') await writeFile(snapshot, schema);
    expect(await readFile(snapshot, 'utf8')).toBe(schema);
  });
});
