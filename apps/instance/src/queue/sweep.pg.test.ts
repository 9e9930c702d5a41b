import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadStatements } from '../database/index.ts';
import { sweepShareSeconds } from './settings.ts';
import { sweep, sweepStatements } from './sweep.ts';
import { type QueueKit, startQueueKit } from './testing/queue-kit.ts';

describe('sweeps of several instances', () => {
  let kit: QueueKit;
  beforeAll(async () => {
    kit = await startQueueKit();
  });
  afterAll(() => kit[Symbol.asyncDispose]());

  const statements = loadStatements(import.meta.url, './sql/', sweepStatements);
  const sweepOfAnother = () =>
    sweep({
      database: kit.database,
      statements,
      log: pino({ level: 'silent' }),
      onEnded: () => undefined,
      minGapSeconds: sweepShareSeconds,
    });

  it('are left out just after one, and never for longer', async () => {
    await kit.sweep();
    expect(await sweepOfAnother()).toBe(false);
    await kit.jump(sweepShareSeconds);
    expect(await sweepOfAnother()).toBe(true);
    expect(await sweepOfAnother()).toBe(false);
  });

  it('are not left out when the clock was set back', async () => {
    await kit.sweep();
    await kit.jump(-1);
    expect(await sweepOfAnother()).toBe(true);
  });
});
