import { lengthAndBytes, lengthAndText, readFailure, textBytes } from './command.ts';
import { brokenProtocol, guestFrame, hostFrame, outputWindow } from './frames.ts';
import { GuestError } from './guest-error.ts';
import { InputFlow } from './input-flow.ts';
import type { Link } from './link.ts';
import { OutputFlow } from './output-flow.ts';

// Of a guest that sends nothing; each frame gives as much time again.
const patienceSeconds = 60;

/** @throws GuestError for what is no regular file, cannot be opened without following a link, or has more than maxBytes */
export async function readFile(link: Link, path: string, maxBytes: number): Promise<Uint8Array | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  const head = Buffer.alloc(12);
  head.writeBigUInt64LE(BigInt(maxBytes));
  head.writeUInt32LE(outputWindow, 8);
  const found = await request(link, `read ${path}`, hostFrame.read, [head, textBytes(path)], {
    data(bytes) {
      size += bytes.length;
      if (size > maxBytes) throw brokenProtocol(`more than ${maxBytes} bytes of ${path}`);
      // A copy: small pieces must not hold whole buffers of the socket.
      chunks.push(Buffer.from(bytes));
    },
  });
  return found ? Buffer.concat(chunks) : undefined;
}

/** Complete or not there: written beside its name and renamed. Makes the directories that are missing. */
export async function writeFile(link: Link, path: string, bytes: Uint8Array, mode: number): Promise<void> {
  const head = Buffer.alloc(4);
  head.writeUInt32LE(mode);
  await request(link, `write ${path}`, hostFrame.write, [head, textBytes(path)], { input: bytes });
}

export async function renew(
  link: Link,
  now: Date,
  entropy: Uint8Array,
  drives: readonly string[],
): Promise<void> {
  const head = Buffer.alloc(12);
  const milliseconds = now.getTime();
  head.writeBigInt64LE(BigInt(Math.floor(milliseconds / 1000)));
  head.writeUInt32LE((milliseconds % 1000) * 1_000_000, 8);
  const payload = [head, ...lengthAndBytes(entropy), ...drives.flatMap(lengthAndText)];
  await request(link, 'become a VM of its own', hostFrame.renew, payload, {});
}

interface Exchange {
  input?: Uint8Array;
  data?(bytes: Buffer): void;
}

/** One question with one answer. @returns whether there was what was asked for */
async function request(
  link: Link,
  what: string,
  type: number,
  payload: readonly Uint8Array[],
  { input, data }: Exchange,
): Promise<boolean> {
  const answer = Promise.withResolvers<boolean>();
  const late = setTimeout(
    () => link.close(new GuestError(`the VM did not ${what} within ${patienceSeconds} s`)),
    patienceSeconds * 1000,
  );
  const output = new OutputFlow(
    link,
    () => stream,
    async () => undefined,
  );
  const stream: number = link.open({
    frame(frameType, bytes) {
      late.refresh();
      switch (frameType) {
        case guestFrame.started:
          return;
        case guestFrame.failed:
          return answer.reject(readFailure(bytes));
        case guestFrame.output:
          if (data === undefined) throw brokenProtocol('contents that nobody asked for');
          output.push(frameType, bytes);
          return data(bytes);
        case guestFrame.inputCredit:
          return flow.credit(bytes);
        case guestFrame.done:
          if (bytes.length !== 1) throw brokenProtocol('an answer that is none');
          return answer.resolve(bytes[0] === 1);
        default:
          throw brokenProtocol(`a frame of type ${frameType} for a file`);
      }
    },
    closed: answer.reject,
  });
  const flow = new InputFlow(link, stream);
  try {
    void link.send(type, stream, Buffer.concat(payload));
    if (input !== undefined) {
      void flow.write(input);
      flow.end();
    }
    return await answer.promise;
  } finally {
    clearTimeout(late);
    flow.close();
    link.release(stream);
  }
}
