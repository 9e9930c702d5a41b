import { expect, test } from 'vitest';
import { createProcessLog, createSecretRegister } from './index.ts';

function lines(format: 'json' | 'logfmt' | 'condensed', level: 'dbug' | 'warn' = 'dbug') {
  const written: string[] = [];
  const secrets = createSecretRegister();
  const log = createProcessLog({
    level,
    format,
    redact: (line) => secrets.redactText(line),
    write: (line) => written.push(line),
  });
  return { log, secrets, written };
}

test('one line per message in each form, with the names of levels that operators know', () => {
  const json = lines('json');
  json.log.debug({ job: 7 }, 'job ended');
  expect(JSON.parse(json.written[0] ?? '')).toMatchObject({ level: 'dbug', job: 7, msg: 'job ended' });
  const logfmt = lines('logfmt');
  logfmt.log.fatal({ error: new Error('two\nlines'), empty: '' }, 'all is lost');
  expect(logfmt.written).toHaveLength(1);
  expect(logfmt.written[0]).toMatch(
    /^t=\S+ lvl=crit msg="all is lost" error="Error: two\\nlines.*" empty=""\n$/,
  );
  const condensed = lines('condensed');
  condensed.log.warn('short');
  expect(condensed.written).toEqual(['WARN short\n']);
});

test('the level holds', () => {
  const { log, written } = lines('json', 'warn');
  log.info('not shown');
  expect(written).toEqual([]);
});

test('secrets are masked while they are registered', () => {
  const { log, secrets, written } = lines('json');
  {
    using _job = secrets.add(new Map([['hunter2hunter2', '[PASS]']]));
    log.info({ cause: 'it said "hunter2hunter2"' }, 'x');
  }
  log.info({ cause: 'hunter2hunter2' }, 'x');
  expect(written[0]).not.toContain('hunter2');
  expect(written[0]).toContain('[PASS]');
  expect(written[1]).toContain('hunter2hunter2');
});
