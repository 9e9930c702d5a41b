import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import { frame, frameReader } from './frames.ts';

export type Transport = 'udp' | 'tcp';

/** Asks each server in turn, so that the whole takes less than the 5 s that most programs wait before they ask again. */
const serverMilliseconds = 2000;
const mostServers = 3;
const port = 53;

/**
 * Asks this machine's name servers, over the transport on which the job asked: each has its own limits of length.
 * @param write makes the message with our own number
 * @param read checks an answer; what it returns undefined for was sent by somebody else, or is wrong
 * @returns what `read` made of the first good answer; undefined when there was none
 */
export async function askServers<Answer>(
  servers: readonly string[],
  transport: Transport,
  write: (id: number) => Buffer,
  read: (message: Buffer, id: number) => Answer | undefined,
): Promise<Answer | undefined> {
  const ask = transport === 'udp' ? askOverUDP : askOverTCP;
  for (const server of servers.slice(0, mostServers)) {
    // Number and port are random: an answer cannot be forged by who does not see the question.
    const id = randomInt(0x1_0000);
    const answer = await ask(server, write(id), (message) => read(message, id));
    if (answer !== undefined) return answer;
  }
  return undefined;
}

type Ask = <Answer>(
  server: string,
  question: Buffer,
  read: (message: Buffer) => Answer | undefined,
) => Promise<Answer | undefined>;

const askOverUDP: Ask = (server, question, read) =>
  withinTime((done) => {
    const socket = createSocket(isIPv6(server) ? 'udp6' : 'udp4');
    socket.on('error', () => done(undefined));
    socket.on('connect', () => socket.send(question));
    // A connected socket hears nobody else.
    socket.connect(port, server);
    socket.on('message', (message) => {
      const answer = read(message);
      if (answer !== undefined) done(answer);
    });
    return () => socket.close();
  });

const askOverTCP: Ask = (server, question, read) =>
  withinTime((done) => {
    const socket = connect(port, server, () => socket.write(frame(question)));
    const frames = frameReader();
    socket.on('error', () => done(undefined));
    socket.on('close', () => done(undefined));
    socket.on('data', (bytes) => {
      const [message] = frames.take(bytes);
      if (message !== undefined) done(read(message));
    });
    return () => socket.destroy();
  });

async function withinTime<Answer>(
  start: (done: (answer: Answer | undefined) => void) => () => void,
): Promise<Answer | undefined> {
  const { promise, resolve } = Promise.withResolvers<Answer | undefined>();
  const end = start(resolve);
  const timer = setTimeout(() => resolve(undefined), serverMilliseconds);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    end();
  }
}
