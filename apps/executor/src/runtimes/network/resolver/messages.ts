import {
  type Answer,
  AUTHENTIC_DATA,
  CHECKING_DISABLED,
  type DecodedPacket,
  DNSSEC_OK,
  decode,
  encode,
  type Packet,
  RECURSION_DESIRED,
  TRUNCATED_RESPONSE,
} from 'dns-packet';
import type { AddressJudge } from '../policy.ts';

/** A job's question, checked and stripped to what a name server needs to know. */
export interface Question {
  /** Of the job's message; ours get numbers of their own. */
  id: number;
  name: string;
  type: NonNullable<Packet['questions']>[number]['type'];
  /** The longest answer over UDP, in bytes. */
  maxBytes: number;
  flags: number;
  /** The job asks by the rules of EDNS, so the answer may follow them too. */
  extended: { dnssec: boolean } | undefined;
}

/** An answer as the job gets it. */
export interface CheckedAnswer {
  message: Buffer;
  /** Addresses that the job may not reach, so it is not told of them. */
  removed: string[];
}

/** Longest message that needs no fragments on any path: fragments can be forged. */
const maxDatagramBytes = 1232;
const plainDatagramBytes = 512;
const headerBytes = 12;
/** Names are at most 255 bytes; what remains is for the options of EDNS. */
const maxQuestionBytes = 1024;
/** Names in a message can refer to each other, so reading one takes much longer than its length tells. */
const maxAnswerBytes = 16 * 1024;
const keptFlags = RECURSION_DESIRED | CHECKING_DISABLED | AUTHENTIC_DATA;
/** Whole zones are asked of the zone's own servers only. */
const refusedTypes = new Set(['AXFR', 'IXFR', 'TKEY', 'TSIG', 'SIG']);

/** Codes of answers without any. */
export const failures = { format: 1, server: 2, refused: 5 } as const;
export type Failure = (typeof failures)[keyof typeof failures];

/** @returns why it cannot be asked, or the question */
export function readQuestion(message: Buffer): Question | Failure {
  if (message.length < headerBytes || message.length > maxQuestionBytes) return failures.format;
  if (message.readUInt16BE(4) !== 1 || message.readUInt32BE(6) !== 0) return failures.format;
  const packet = decoded(message);
  const question = packet?.questions?.[0];
  const operation = (message.readUInt16BE(2) >> 11) & 0xf;
  if (!packet || !question || packet.type !== 'query' || operation !== 0) return failures.format;
  if (!isPlain(question.name)) return failures.format;
  if ((question.class ?? 'IN') !== 'IN' || refusedTypes.has(question.type)) return failures.refused;
  const extension = packet.additionals?.find((record) => record.type === 'OPT');
  const askedBytes = extension?.type === 'OPT' ? extension.udpPayloadSize : plainDatagramBytes;
  return {
    id: packet.id ?? 0,
    name: question.name,
    type: question.type,
    maxBytes: Math.min(Math.max(askedBytes, plainDatagramBytes), maxDatagramBytes),
    flags: (packet.flags ?? 0) & keptFlags,
    extended: extension?.type === 'OPT' ? { dnssec: extension.flag_do } : undefined,
  };
}

/** @param id of the message to the name server */
export function writeQuestion(question: Question, id: number): Buffer {
  const extension = {
    name: '.',
    type: 'OPT' as const,
    udpPayloadSize: maxDatagramBytes,
    extendedRcode: 0,
    ednsVersion: 0,
    flags: question.extended?.dnssec ? DNSSEC_OK : 0,
    flag_do: question.extended?.dnssec ?? false,
    options: [],
  };
  return encode({
    type: 'query',
    id,
    flags: question.flags,
    questions: [{ name: question.name, type: question.type, class: 'IN' }],
    additionals: question.extended === undefined ? [] : [extension],
  });
}

/**
 * Checks what a name server answered, and takes out addresses that are closed to the job: a public name that leads to a private
 * address is the means of making a program inside speak to what its author could not reach. An answer without
 * such addresses is passed on byte by byte, with signatures and records that are unknown here.
 * @param id of our message
 * @returns undefined when it does not answer this question, or cannot be understood
 */
export function checkAnswer(
  message: Buffer,
  question: Question,
  id: number,
  closedBecause: AddressJudge,
): CheckedAnswer | undefined {
  if (message.length > maxAnswerBytes) return undefined;
  const packet = decoded(message);
  const [asked, ...others] = packet?.questions ?? [];
  if (packet?.type !== 'response' || packet.id !== id || !asked || others.length > 0) return undefined;
  if (asked.name.toLowerCase() !== question.name.toLowerCase() || asked.type !== question.type)
    return undefined;
  const removed = new Set<string>();
  const open = (records: readonly Answer[] = []): Answer[] =>
    records.filter((record) => {
      if (record.type !== 'A' && record.type !== 'AAAA') return true;
      if (closedBecause(record.data) === undefined) return true;
      removed.add(record.data);
      return false;
    });
  const rest = {
    answers: open(packet.answers),
    authorities: open(packet.authorities),
    additionals: open(packet.additionals),
  };
  if (removed.size === 0) return { message: withId(message, question.id), removed: [] };
  const { questions = [], flags = 0 } = packet;
  const written = rewritten({ type: 'response', id: question.id, flags, questions, ...rest });
  return written && { message: written, removed: [...removed] };
}

/** @returns undefined when the library cannot write what it could read: names of bytes that are no text grow */
function rewritten(packet: Packet): Buffer | undefined {
  try {
    const message = encode(packet);
    decode(message);
    return message;
  } catch {
    return undefined;
  }
}

/** What a job gets when there is no answer. @param message what it sent */
export function failureOf(message: Buffer, failure: Failure): Buffer | undefined {
  if (message.length < headerBytes) return undefined;
  const header = Buffer.alloc(headerBytes);
  message.copy(header, 0, 0, 2);
  header.writeUInt16BE(0x8000 | (message.readUInt16BE(2) & 0x7900) | failure, 2);
  return header;
}

/** As it goes over UDP: too long, it only says that it should be asked for over TCP. */
export function fitted(message: Buffer, question: Question): Buffer {
  if (message.length <= question.maxBytes) return message;
  const { flags = 0, questions = [] } = decode(message);
  return encode({ type: 'response', id: question.id, flags: flags | TRUNCATED_RESPONSE, questions });
}

/** The library reads names as text, with points between their parts; what has others would not be asked as it came. */
function isPlain(name: string): boolean {
  return name === '.' || name.split('.').every((label) => /^[\x21-\x7e]+$/.test(label));
}

function decoded(message: Buffer): DecodedPacket | undefined {
  try {
    return decode(message);
  } catch {
    return undefined;
  }
}

function withId(message: Buffer, id: number): Buffer {
  const copy = Buffer.from(message);
  copy.writeUInt16BE(id, 0);
  return copy;
}
