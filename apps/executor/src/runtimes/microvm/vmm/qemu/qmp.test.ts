import { Duplex } from 'node:stream';
import { expect, test } from 'vitest';
import { connectQmp } from './qmp.ts';

const greeting = '{"QMP": {"version": {}, "capabilities": []}}\n';

/** The other end of a connection: answers each command by what `answer` makes of it. */
function qemu(answer: (command: { execute: string; id: number }) => string, first = greeting): Duplex {
  const stream: Duplex = new Duplex({
    read: () => undefined,
    write(bytes: Buffer, _, done) {
      const command = JSON.parse(bytes.toString());
      stream.push(command.execute === 'qmp_capabilities' ? ok(command.id) : answer(command));
      done();
    },
  });
  stream.push(first);
  return stream;
}

function ok(id: number, value: unknown = {}): string {
  return `${JSON.stringify({ return: value, id })}\n`;
}

test('gives each command its own answer, whatever comes between', async () => {
  const held: number[] = [];
  const stream = qemu(({ id }) => {
    held.push(id);
    if (held.length < 2) return '{"event": "RESUME", "timestamp": {}}\n';
    return [...held]
      .reverse()
      .map((one) => ok(one, one))
      .join('');
  });
  const qmp = await connectQmp(stream);
  const [first, second] = await Promise.all([qmp.execute('a'), qmp.execute('b')]);
  expect([first, second]).toEqual(held);
});

test('says what QEMU said, and goes on', async () => {
  const qmp = await connectQmp(
    qemu(({ id, execute }) =>
      execute === 'bad'
        ? `${JSON.stringify({ id, error: { class: 'GenericError', desc: 'no such device' } })}\n`
        : ok(id, 'fine'),
    ),
  );
  await expect(qmp.execute('bad')).rejects.toThrow('QEMU: no such device');
  expect(await qmp.execute('good')).toBe('fine');
});

test.each([
  ['no JSON', () => 'junk\n', 'broke its protocol'],
  ['another shape', () => '{"return": 1}\n', 'broke its protocol'],
  ['an answer to nothing', () => ok(99), 'answers what nobody asked'],
  ['a line without end', () => 'x'.repeat(2 * 1024 * 1024), 'a line has no end'],
])('gives up on %s', async (_, answer, message) => {
  const stream = qemu(answer);
  const qmp = await connectQmp(stream);
  await expect(qmp.execute('x')).rejects.toThrow(message);
  await expect(qmp.execute('y')).rejects.toThrow(message);
  expect(stream.destroyed).toBe(true);
});

test('waits neither for an answer nor for a greeting for ever', async () => {
  const qmp = await connectQmp(
    qemu(() => ''),
    0.05,
  );
  await expect(qmp.execute('x')).rejects.toThrow('did not answer x within');
  await expect(
    connectQmp(
      qemu(() => '', ''),
      0.05,
    ),
  ).rejects.toThrow('did not come up');
});

test('ends what waits when QEMU ends', async () => {
  const stream = qemu(() => '');
  const qmp = await connectQmp(stream);
  const waiting = qmp.execute('x');
  stream.destroy();
  await expect(waiting).rejects.toThrow('QEMU has ended');
});
