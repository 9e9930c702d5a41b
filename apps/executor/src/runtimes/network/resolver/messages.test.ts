import { decode, encode, type Packet } from 'dns-packet';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { judgeOf } from '../policy.ts';
import { checkAnswer, failureOf, fitted, type Question, readQuestion, writeQuestion } from './messages.ts';

const closedBecause = judgeOf({
  endpoints: [{ address: '10.0.0.9', port: 3080 }],
  allowedCIDRs: ['10.5.0.0/16'],
});

test('asks what the job asks, by a number of its own and without what else the message holds', () => {
  const question = read({
    id: 77,
    questions: [{ name: 'Example.com', type: 'AAAA' }],
    additionals: [extension({ udpPayloadSize: 4096, flags: 1 << 15 })],
  });
  expect(question).toMatchObject({ id: 77, maxBytes: 1232, extended: { dnssec: true } });
  const asked = decode(writeQuestion(question, 4711));
  expect(asked).toMatchObject({ id: 4711, type: 'query', flag_rd: true });
  expect(asked.questions).toMatchObject([{ name: 'Example.com', type: 'AAAA', class: 'IN' }]);
  expect(asked.additionals).toMatchObject([{ type: 'OPT', udpPayloadSize: 1232, options: [] }]);
});

test.each([
  ['an answer', { type: 'response', questions: [{ name: 'a.b', type: 'A' }] }, 1],
  ['two questions', { questions: Array(2).fill({ name: 'a.b', type: 'A' }) }, 1],
  ['no question', { questions: [] }, 1],
  ['a transfer of a zone', { questions: [{ name: 'a.b', type: 'AXFR' }] }, 5],
  ['another class', { questions: [{ name: 'version.bind', type: 'TXT', class: 'CH' }] }, 5],
  ['a name that is not plain', { questions: [{ name: 'a b', type: 'A' }] }, 1],
  ['an update', { flags: 5 << 11, questions: [{ name: 'a.b', type: 'A' }] }, 1],
] as [string, Packet, number][])('does not ask %s', (_, packet, failure) => {
  expect(readQuestion(encode({ type: 'query', id: 1, ...packet }))).toBe(failure);
});

test('does not ask names that could be read in two ways', () => {
  const message = encode({ type: 'query', id: 1, questions: [{ name: 'ab.cd', type: 'A' }] });
  expect(readQuestion(message)).toMatchObject({ name: 'ab.cd' });
  for (const [text, otherwise] of [
    ['ab', 'a.'],
    ['ab', '.b'],
    ['ab', 'a\0'],
    ['ab', 'a\xff'],
  ] as const) {
    const other = Buffer.from(message.toString('latin1').replace(text, otherwise), 'latin1');
    expect(readQuestion(other)).toBe(1);
  }
});

test('takes addresses that are closed to the job out of answers, wherever they stand', () => {
  const question = read({ id: 9, questions: [{ name: 'db.example.com', type: 'A' }] });
  const address = (name: string, data: string) => ({
    name,
    type: data.includes(':') ? ('AAAA' as const) : ('A' as const),
    ttl: 5,
    data,
  });
  const reply = encode({
    type: 'response',
    id: 4711,
    questions: [{ name: 'db.example.com', type: 'A' }],
    answers: [
      { name: 'db.example.com', type: 'CNAME', ttl: 5, data: 'x.example.com' },
      ...['10.1.2.3', '8.8.8.8', '169.254.169.254', '10.5.0.1', '10.0.0.9', 'fd00::1', '::ffff:10.0.0.1'].map(
        (data) => address('x.example.com', data),
      ),
    ],
    additionals: [address('ns.example.com', '192.168.1.1')],
  });
  const answer = checkAnswer(reply, question, 4711, closedBecause);
  expect(answer?.removed).toEqual(['10.1.2.3', '169.254.169.254', 'fd00::1', '::ffff:a00:1', '192.168.1.1']);
  const given = decode(answer?.message ?? Buffer.alloc(0));
  expect(given.id).toBe(9);
  expect(given.answers?.map((record) => Reflect.get(record, 'data'))).toEqual([
    'x.example.com',
    '8.8.8.8',
    '10.5.0.1',
    '10.0.0.9',
  ]);
  expect(given.additionals).toEqual([]);
});

test('passes other answers on as they came', () => {
  const question = read({ id: 9, questions: [{ name: 'example.com', type: 'A' }] });
  const reply = encode({
    type: 'response',
    id: 4711,
    questions: [{ name: 'example.com', type: 'A' }],
    answers: [{ name: 'example.com', type: 'A', ttl: 5, data: '8.8.8.8' }],
    authorities: [{ name: 'example.com', type: 'NULL', data: Buffer.from([0, 255, 1]) }],
  });
  const answer = checkAnswer(reply, question, 4711, closedBecause)?.message;
  expect(answer?.subarray(2)).toEqual(reply.subarray(2));
  expect(answer?.readUInt16BE(0)).toBe(9);
});

test('takes no answer to another question, of another number, or of nobody', () => {
  const question = read({ id: 9, questions: [{ name: 'example.com', type: 'A' }] });
  const reply = (fields: Packet) =>
    encode({ type: 'response', id: 4711, questions: [{ name: 'example.com', type: 'A' }], ...fields });
  const check = (message: Buffer) => checkAnswer(message, question, 4711, closedBecause);
  expect(check(reply({}))).toBeDefined();
  expect(check(reply({ id: 4712 }))).toBeUndefined();
  expect(check(reply({ type: 'query' }))).toBeUndefined();
  expect(check(reply({ questions: [{ name: 'example.org', type: 'A' }] }))).toBeUndefined();
  expect(check(reply({ questions: [{ name: 'example.com', type: 'TXT' }] }))).toBeUndefined();
  expect(check(reply({}).subarray(0, 20))).toBeUndefined();
  expect(check(Buffer.alloc(17_000))).toBeUndefined();
});

test('no answer over UDP is longer than what was asked for', () => {
  const question = read({ id: 9, questions: [{ name: 'example.com', type: 'TXT' }] });
  expect(question.maxBytes).toBe(512);
  const long = encode({
    type: 'response',
    id: 9,
    questions: [{ name: 'example.com', type: 'TXT' }],
    answers: [
      { name: 'example.com', type: 'TXT', data: ['x'.repeat(250), 'y'.repeat(250), 'z'.repeat(250)] },
    ],
  });
  const given = fitted(long, question);
  expect(given.length).toBeLessThan(100);
  expect(decode(given)).toMatchObject({ id: 9, flag_tc: true, answers: [] });
});

test('no answer, however damaged, makes it fail or tell of a closed address', () => {
  const question = read({ id: 9, questions: [{ name: 'db.example.com', type: 'A' }] });
  const reply = encode({
    type: 'response',
    id: 4711,
    questions: [{ name: 'db.example.com', type: 'A' }],
    answers: [
      { name: 'db.example.com', type: 'CNAME', ttl: 5, data: 'x.example.com' },
      { name: 'x.example.com', type: 'A', ttl: 5, data: '10.1.2.3' },
      { name: 'x.example.com', type: 'AAAA', ttl: 5, data: 'fd00::1' },
    ],
    authorities: [{ name: 'example.com', type: 'TXT', data: 'text' }],
    additionals: [extension({ udpPayloadSize: 1232, flags: 0 })],
  });
  const damages = fc.array(fc.tuple(fc.nat({ max: reply.length - 1 }), fc.nat({ max: 255 })), {
    maxLength: 4,
  });
  let answered = 0;
  fc.assert(
    fc.property(damages, (damage) => {
      const message = Buffer.from(reply);
      for (const [at, byte] of damage) message[at] = byte;
      const answer = checkAnswer(message, question, 4711, closedBecause);
      if (answer === undefined) return;
      answered += 1;
      const { answers = [], additionals = [] } = decode(answer.message);
      for (const record of [...answers, ...additionals])
        if (record.type === 'A' || record.type === 'AAAA') expect(closedBecause(record.data)).toBeUndefined();
    }),
    { numRuns: 3000 },
  );
  expect(answered).toBeGreaterThan(300);
});

test('whatever bytes come, nothing is thrown and no failure is longer than the question', () => {
  const question = read({ id: 9, questions: [{ name: 'example.com', type: 'A' }] });
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat({ max: 30 }), (bytes, kept) => {
      // Half of them begin as a message would.
      const start = writeQuestion(question, 4711).subarray(0, kept);
      const message = Buffer.concat([start, bytes]);
      const read = readQuestion(message);
      if (typeof read === 'number')
        expect(failureOf(message, read)?.length ?? 0).toBeLessThanOrEqual(message.length);
      if (message.length > 2) message.writeUInt8(0x81, 2);
      checkAnswer(message, question, 4711, closedBecause);
    }),
    { numRuns: 2000 },
  );
});

function read(packet: Packet): Question {
  const question = readQuestion(encode({ type: 'query', flags: 1 << 8, ...packet }));
  if (typeof question === 'number') throw new Error(`refused with ${question}`);
  return question;
}

function extension(fields: { udpPayloadSize: number; flags: number }) {
  return {
    name: '.',
    type: 'OPT' as const,
    extendedRcode: 0,
    ednsVersion: 0,
    flag_do: true,
    options: [{ code: 8 as const, ip: '1.2.3.0', sourcePrefixLength: 24 }],
    ...fields,
  };
}
