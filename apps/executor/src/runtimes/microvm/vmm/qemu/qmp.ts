import type { Duplex } from 'node:stream';
import { z } from 'zod';
import { VmError } from '../vmm.ts';

/** QEMU's longest answers are a few kB; one that took over the process must not fill our memory. */
const maxLineBytes = 1024 * 1024;
const commandSeconds = 30;

const messageSchema = z.union([
  z.object({ QMP: z.unknown() }),
  z.object({ return: z.unknown(), id: z.number() }),
  z.object({ error: z.object({ class: z.string(), desc: z.string() }), id: z.number().optional() }),
  z.object({ event: z.string() }),
]);

/** The machine protocol of a QEMU process: one JSON object a line. */
export interface Qmp {
  /** @throws VmError with what QEMU said, when it does not answer in time, or when the connection has ended */
  execute(command: string, parameters?: Readonly<Record<string, unknown>>): Promise<unknown>;
  close(): void;
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
  timer: NodeJS.Timeout;
}

/**
 * Takes the greeting and leaves the negotiation mode.
 * @throws VmError
 */
export async function connectQmp(stream: Duplex, seconds = commandSeconds): Promise<Qmp> {
  const waiting = new Map<number, Waiting>();
  const greeted = Promise.withResolvers<void>();
  greeted.promise.catch(() => undefined);
  let ended: VmError | undefined;
  let nextId = 1;
  let pieces: Buffer[] = [];
  let length = 0;

  function end(error: VmError): void {
    ended ??= error;
    greeted.reject(ended);
    for (const one of waiting.values()) one.reject(ended);
    waiting.clear();
    pieces = [];
    stream.destroy();
  }

  function take(bytes: Buffer): void {
    try {
      for (let rest = bytes; rest.length > 0 && ended === undefined; ) {
        const at = rest.indexOf(10);
        const piece = at === -1 ? rest : rest.subarray(0, at);
        pieces.push(piece);
        length += piece.length;
        if (length > maxLineBytes) throw new VmError('QEMU broke its protocol: a line has no end');
        if (at === -1) return;
        const line = Buffer.concat(pieces).toString('utf8');
        pieces = [];
        length = 0;
        rest = rest.subarray(at + 1);
        if (line.trim() !== '') understand(line);
      }
    } catch (error) {
      end(error instanceof VmError ? error : new VmError(String(error)));
    }
  }

  /** @throws VmError for what is not of the protocol */
  function understand(line: string): void {
    const message = messageSchema.safeParse(parsed(line));
    if (!message.success) throw new VmError(`QEMU broke its protocol: ${JSON.stringify(line.slice(0, 100))}`);
    const said = message.data;
    if ('QMP' in said) greeted.resolve();
    if ('QMP' in said || 'event' in said) return;
    const id = said.id ?? -1;
    const one = waiting.get(id);
    if (one === undefined) throw new VmError('QEMU broke its protocol: it answers what nobody asked');
    waiting.delete(id);
    if ('error' in said) one.reject(new VmError(`QEMU: ${said.error.desc.slice(0, 500)}`));
    else one.resolve(said.return);
  }

  async function execute(command: string, parameters?: Readonly<Record<string, unknown>>): Promise<unknown> {
    if (ended !== undefined) throw ended;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const id = nextId;
    nextId += 1;
    const timer = setTimeout(() => {
      waiting.delete(id);
      reject(new VmError(`QEMU did not answer ${command} within ${seconds} s`));
    }, seconds * 1000);
    waiting.set(id, { resolve, reject, timer });
    const text = JSON.stringify({ execute: command, id, ...(parameters ? { arguments: parameters } : {}) });
    stream.write(`${text}\n`);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
    }
  }

  stream.on('data', take);
  stream.on('error', (error) => end(new VmError(`the connection to QEMU broke: ${error.message}`)));
  stream.on('close', () => end(new VmError('QEMU has ended')));
  const timer = setTimeout(
    () => end(new VmError(`QEMU did not come up within ${seconds} s`)),
    seconds * 1000,
  );
  try {
    await greeted.promise;
  } finally {
    clearTimeout(timer);
  }
  await execute('qmp_capabilities');
  return { execute, close: () => end(new VmError('the connection to QEMU was closed')) };
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
