import { createSocket, type Socket as Datagrams } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { inRanges } from '../cidr.ts';
import { judgeOf, type NetworkPolicy } from '../policy.ts';
import { frame, frameReader } from './frames.ts';
import { checkAnswer, failureOf, failures, fitted, readQuestion, writeQuestion } from './messages.ts';
import { askServers, type Transport } from './name-servers.ts';
import { rateLimit } from './rate.ts';

/** What it takes to answer the lookups of one job's network. */
export interface LookupJob extends NetworkPolicy {
  /** This machine's address in the job's network. */
  gateway: string;
  /** Where questions may come from: the job's own addresses. */
  sources: readonly string[];
  nameServers: readonly string[];
}

export interface JobLookups {
  port: number;
  close(): void;
}

/**
 * UDP: more than a build that downloads a thousand packages asks; what is above it is dropped, and asked again. TCP: for the few long
 * answers, which take longer to check. A job that asks more takes nothing from the others.
 */
const questionsPerSecond = { udp: 200, tcp: 20 } as const;
const mostAtOnce = 100;
const mostConnections = 16;
const portTries = 5;
const idleMilliseconds = 10_000;

/**
 * Answers one job's lookups on its gateway, over UDP and TCP, by asking this machine's name servers. Nobody else is answered,
 * no answer is longer over UDP than what was asked for, and nothing is remembered.
 * @param port 0: any that is free
 * @param onRemoved told of each address that was kept from the job
 * @throws Error of the system when the gateway's port cannot be had
 */
export async function serveLookups(
  job: LookupJob,
  port: number,
  onRemoved: (name: string, address: string) => void,
): Promise<JobLookups> {
  const isOwn = inRanges(job.sources);
  const closedBecause = judgeOf(job);
  const mayAsk = { udp: rateLimit(questionsPerSecond.udp), tcp: rateLimit(questionsPerSecond.tcp) };
  let asking = 0;
  let isOpen = true;

  /** @returns undefined for what gets no answer at all */
  async function answer(message: Buffer, transport: Transport): Promise<Buffer | undefined> {
    if (!mayAsk[transport]() || asking >= mostAtOnce) return undefined;
    const question = readQuestion(message);
    if (typeof question === 'number') return failureOf(message, question);
    asking += 1;
    try {
      const checked = await askServers(
        job.nameServers,
        transport,
        (id) => writeQuestion(question, id),
        (reply, id) => checkAnswer(reply, question, id, closedBecause),
      );
      for (const address of checked?.removed ?? []) onRemoved(question.name, address);
      if (checked === undefined) return failureOf(message, failures.server);
      return transport === 'udp' ? fitted(checked.message, question) : checked.message;
    } finally {
      asking -= 1;
    }
  }

  const { datagrams, connections } = await listen(job.gateway, port);
  datagrams.on('error', () => undefined);
  datagrams.on('message', async (message, from) => {
    if (!isOwn(from.address)) return;
    const reply = await answer(message, 'udp');
    if (reply !== undefined && isOpen) datagrams.send(reply, from.port, from.address, () => undefined);
  });

  const sockets = new Set<Socket>();
  connections.on('connection', (socket) => {
    if (!isOwn(socket.remoteAddress ?? '')) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.setTimeout(idleMilliseconds, () => socket.destroy());
    answerConnection(socket, (message) => answer(message, 'tcp')).catch(() => socket.destroy());
  });
  connections.maxConnections = mostConnections;
  connections.on('error', () => undefined);
  return {
    port: datagrams.address().port,
    close() {
      isOpen = false;
      datagrams.close();
      connections.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** The same port for both. @param port 0: any that is free, which is found out by trying */
async function listen(gateway: string, port: number): Promise<{ datagrams: Datagrams; connections: Server }> {
  for (let attempt = 1; ; attempt++) {
    const datagrams = createSocket('udp4');
    const connections = createServer();
    try {
      datagrams.bind(port, gateway);
      await once(datagrams, 'listening');
      connections.listen(datagrams.address().port, gateway);
      await once(connections, 'listening');
      return { datagrams, connections };
    } catch (error) {
      datagrams.close();
      const isTaken = Reflect.get(Object(error), 'code') === 'EADDRINUSE';
      if (!isTaken || port !== 0 || attempt === portTries) throw error;
    }
  }
}

/**
 * One question after the other, so that a connection takes no more than one at a time, and none while answers wait to be read.
 * @throws Error when they are not read in time
 */
async function answerConnection(
  socket: Socket,
  answer: (message: Buffer) => Promise<Buffer | undefined>,
): Promise<void> {
  const frames = frameReader();
  for await (const bytes of socket as AsyncIterable<Buffer>) {
    for (const message of frames.take(bytes)) {
      const reply = await answer(message);
      if (reply === undefined) {
        socket.destroy();
        return;
      }
      if (!socket.write(frame(reply)))
        await once(socket, 'drain', { signal: AbortSignal.timeout(idleMilliseconds) });
    }
  }
}
