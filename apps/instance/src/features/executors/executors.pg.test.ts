import { compatVersion, kilnVersion } from '@kiln/protocol';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestDatabase, type TestDatabase } from '../../../../../test/kit/database.ts';
import { type ExecutorBeat, type Executors, openExecutors } from './index.ts';
import { deleteStaleRows } from './stale-rows.ts';

const log = pino({ level: 'silent' });

function beat(name: string, more: Partial<ExecutorBeat> = {}): ExecutorBeat {
  return {
    name,
    queues: ['jobs'],
    os: 'linux',
    architecture: 'amd64',
    dockerVersion: '20.10.24',
    executorVersion: compatVersion,
    gitVersion: '2.39.5',
    igniteVersion: '',
    srcCliVersion: '',
    kilnVersion: '',
    extensions: [],
    ...more,
  };
}

describe('executors', () => {
  let test: TestDatabase;
  let executors: Executors;
  beforeAll(async () => {
    test = await startTestDatabase();
    executors = await openExecutors(test.database, log);
  });
  afterAll(async () => {
    await executors?.[Symbol.asyncDispose]();
    await test?.[Symbol.asyncDispose]();
  });

  async function view(name: string) {
    return (await executors.list()).find((executor) => executor.name === name);
  }
  async function age(name: string, interval: string): Promise<void> {
    await test.database.query('update executors set last_seen_at = now() - $2::interval where name = $1', [
      name,
      interval,
    ]);
  }

  it('registers an executor, and overwrites all but its first time and draining', async () => {
    await executors.beat(beat('one', { executorVersion: '', os: '' }));
    const first = await view('one');
    await executors.setDraining('one', true);
    const isolation = { runtime: 'microvm', vmm: 'qemu', accelerator: 'kvm' };
    await executors.beat(beat('one', { queues: ['batches', 'jobs'], slots: 4, running: 1, isolation }));
    expect(executors.isDraining('one')).toBe(true);
    expect(await view('one')).toMatchObject({
      queues: ['batches', 'jobs'],
      slots: 4,
      running: 1,
      isolation,
      active: true,
      draining: true,
      os: 'linux',
      firstSeenAt: first?.firstSeenAt,
    });
    expect(first?.compatibility).toBeNull();
  });

  it('is active for 15 seconds after a heartbeat, and not after a goodbye', async () => {
    await executors.beat(beat('two'));
    expect(await view('two')).toMatchObject({ active: true, compatibility: 'UP_TO_DATE' });
    await age('two', '14 seconds');
    expect((await view('two'))?.active).toBe(true);
    await age('two', '16 seconds');
    expect(await view('two')).toMatchObject({ active: false, compatibility: null });
    await executors.beat(beat('two', { endedBecause: 'spot' }));
    expect(await view('two')).toMatchObject({ active: false, endedBecause: 'spot' });
    await executors.beat(beat('two'));
    expect(await view('two')).toMatchObject({ active: true, endedBecause: null });
  });

  it('compares Kiln with Kiln by our own version', async () => {
    await executors.beat(beat('three', { executorVersion: '5.0.0' }));
    expect((await view('three'))?.compatibility).toBe('OUTDATED');
    await executors.beat(beat('three', { executorVersion: '5.0.0', kilnVersion }));
    expect((await view('three'))?.compatibility).toBe('UP_TO_DATE');
    await executors.beat(beat('three', { kilnVersion: '99.0.0' }));
    expect((await view('three'))?.compatibility).toBe('VERSION_AHEAD');
  });

  it('counts what can take jobs of a queue', async () => {
    await executors.beat(beat('four', { queues: ['codeintel'], extensions: ['limits'] }));
    await executors.beat(beat('five', { queues: ['codeintel', 'batches'] }));
    expect((await executors.capacity.now()).codeintel).toEqual({ executors: 2, withLimits: 1 });
    await executors.setDraining('four', true);
    expect((await executors.capacity.now()).codeintel).toEqual({ executors: 1, withLimits: 0 });
    await age('five', '1 minute');
    expect((await executors.capacity.now()).codeintel).toEqual({ executors: 0, withLimits: 0 });
  });

  it('remembers that for a moment, but not past a change that it knows of', async () => {
    const recent = async () => (await executors.capacity.recent()).batches.executors;
    const before = await recent();
    await executors.beat(beat('six', { queues: ['batches'] }));
    expect(await recent()).toBe(before + 1);
    await executors.setDraining('six', true);
    expect(await recent()).toBe(before);
    await executors.setDraining('six', false);
    expect(await recent()).toBe(before + 1);
    await executors.beat(beat('six', { queues: ['batches'], endedBecause: 'done' }));
    expect(await recent()).toBe(before);
  });

  it('tells every instance of draining at once', async () => {
    await using other = await openExecutors(test.database, log);
    await executors.beat(beat('six'));
    const heard = Promise.withResolvers<void>();
    using _ = other.watchDraining('six', heard.resolve);
    expect((await executors.setDraining('six', true))?.draining).toBe(true);
    expect(executors.isDraining('six')).toBe(true);
    await heard.promise;
    expect(other.isDraining('six')).toBe(true);
    await executors.setDraining('six', false);
    expect(executors.isDraining('six')).toBe(false);
    await using late = await openExecutors(test.database, log);
    expect(late.isDraining('six')).toBe(false);
    expect(late.isDraining('four')).toBe(true);
    expect(await executors.setDraining('nobody', true)).toBeUndefined();
  });

  it('deletes rows a week after the last heartbeat, a day after a goodbye', async () => {
    await executors.beat(beat('gone'));
    await executors.beat(beat('stays'));
    await executors.beat(beat('ended', { endedBecause: 'shutdown' }));
    await executors.beat(beat('just-ended', { endedBecause: 'shutdown' }));
    await age('gone', '168 hours');
    await age('stays', '167 hours');
    await age('ended', '25 hours');
    await age('just-ended', '23 hours');
    await deleteStaleRows(test.database);
    const names = (await executors.list()).map(({ name }) => name);
    expect(names).not.toContain('gone');
    expect(names).not.toContain('ended');
    expect(names).toEqual(expect.arrayContaining(['stays', 'just-ended']));
  });
});
