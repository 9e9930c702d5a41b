import { describe, expect, it } from 'vitest';
import { createRedactor } from './redactor.ts';

const redact = (secrets: Record<string, string>, text: string) =>
  createRedactor(new Map(Object.entries(secrets))).redactText(text);

describe('raw values', () => {
  it('become their replacement wherever they stand', () => {
    expect(redact({ 'hunter2!': 'PASSWORD' }, 'hunter2! xhunter2!y\nhunter2!')).toBe(
      'PASSWORD xPASSWORDy\nPASSWORD',
    );
  });

  it('leave text without secrets as it is', () => {
    const text = 'nothing to see \ud800 here';
    expect(redact({ 'hunter2!': 'X' }, text)).toBe(text);
    expect(redact({}, text)).toBe(text);
  });

  it('leave numbers alone that are the beginning of a secret in hex', () => {
    const secrets = { 'token one!': 'A', '4Tokens two': 'B', 'a third token': 'C' };
    const numbers = Array.from({ length: 100_000 }, (_, number) => number).join('\n');
    expect(redact(secrets, numbers)).toBe(numbers);
  });

  it('are ignored when they are empty or white space', () => {
    expect(redact({ '': 'A', ' \n': 'B' }, 'a b\n c')).toBe('a b\n c');
  });

  it('give way to the longest match, whatever the order', () => {
    const secrets = { hunter22: 'SHORT', 'token-executor hunter22': 'token-executor REDACTED', tor: 'T' };
    expect(redact(secrets, 'Authorization: token-executor hunter22')).toBe(
      'Authorization: token-executor REDACTED',
    );
    expect(redact(secrets, 'only hunter22')).toBe('only SHORT');
  });

  it('become one replacement where they overlap, two where they touch', () => {
    const secrets = { abcdefgh: 'ONE', ghijklmno: 'TWO' };
    expect(redact(secrets, '<abcdefghijklmno>')).toBe('<TWO>');
    expect(redact(secrets, '<abcdefghabcdefgh>')).toBe('<ONEONE>');
  });

  it('are found without the white space around them', () => {
    expect(redact({ 'secret-value\n': 'X' }, 'a secret-value b')).toBe('a X b');
  });

  it('are found line by line, with any line end and indentation', () => {
    const secrets = { 'first line\nsecond line\n': 'X' };
    expect(redact(secrets, 'first line\r\n  second line\n')).toBe('X\r\n  X\n');
    expect(redact(secrets, '{"a":"first line\\nsecond line"}')).toBe('{"a":"X"}');
  });

  it('do not mask the braces of a JSON document everywhere', () => {
    expect(redact({ '{\n  "password": "abcdef"\n}': 'X' }, 'if (a) {\n}\n"password": "abcdef"')).toBe(
      'if (a) {\n}\nX',
    );
  });
});

describe('values shorter than 6 bytes', () => {
  it('count as whole words only', () => {
    expect(redact({ abc: 'X' }, 'abc xabc abcx a_abc (abc) abc=abc éabc abc')).toBe(
      'X xabc abcx a_abc (X) X=X éabc X',
    );
  });

  it('count at the edges of chunks as anywhere', () => {
    const stream = createRedactor(new Map([['abc', 'X']])).stream();
    const written = ['x', 'abc', ' a', 'bc', 'd abc', '\nabc'].map((chunk) =>
      text(stream.write(utf8(chunk))),
    );
    expect([...written, text(stream.flush())]).toEqual(['x', '', 'abc ', '', 'abcd ', 'X\n', 'X']);
  });

  it('do not make everything else a secret', () => {
    const benign = '{ "e": "&quot;", "f": "ew==" } %7B 7b \\u007b';
    expect(redact({ '{': 'X' }, benign.slice(2))).toBe(benign.slice(2));
    expect(redact({ '"': 'X', '&': 'Y' }, '&quot; a&amp;b a\\"b')).toBe('&quot; a&amp;b a\\"b');
  });
});

describe('replacements', () => {
  it('give way to a neutral one when a secret could be read in them', () => {
    expect(redact({ SECRETNAME: 'secrets.SECRETNAME' }, 'a SECRETNAME')).toBe('a [redacted]');
    expect(redact({ '[redacted]': '[redacted]' }, 'a [redacted]')).toBe('a ******');
  });
});

describe('a stream', () => {
  const secret = 'correct horse battery';
  const pieces = (chunks: string[]) => {
    const stream = createRedactor(new Map([[secret, 'X']])).stream();
    return [...chunks.map((chunk) => text(stream.write(utf8(chunk)))), text(stream.flush())];
  };

  it('gives out complete lines at once', () => {
    expect(pieces(['one\ntwo correct\n', 'correct horse battery\n'])).toEqual([
      'one\ntwo correct\n',
      'X\n',
      '',
    ]);
  });

  it('holds a tail that may begin a secret, until it goes on, ends or is flushed', () => {
    expect(pieces(['password? ', 'corr', 'ect horse ', 'battery '])).toEqual([
      'password? ',
      '',
      '',
      'X ',
      '',
    ]);
    expect(pieces(['a corr', 'upt '])).toEqual(['a ', 'corrupt ', '']);
    expect(pieces(['a corr', '\n'])).toEqual(['a ', 'corr\n', '']);
    expect(pieces(['a corr'])).toEqual(['a ', 'corr']);
  });

  it('gives out a prompt, which cannot begin a secret', () => {
    expect(pieces(['Continue? [y/N] '])[0]).toBe('Continue? [y/N] ');
  });

  it('holds no memory of the caller', () => {
    const stream = createRedactor(new Map([[secret, 'X']])).stream();
    const chunk = utf8('a correct ho');
    stream.write(chunk);
    chunk.fill(0);
    expect(text(stream.write(utf8('rse battery.')))).toBe('X.');
  });

  it('begins anew after a flush', () => {
    const stream = createRedactor(new Map([[secret, 'X']])).stream();
    stream.write(utf8('a correct horse'));
    stream.flush();
    expect(text(stream.write(utf8(' battery.')))).toBe(' battery.');
  });

  it('keeps bytes that are not UTF-8', () => {
    const stream = createRedactor(new Map([[secret, 'X']])).stream();
    const bytes = Buffer.from([0xff, 0xfe, 0x00, 0x80, 0x0a]);
    expect(Buffer.from(stream.write(bytes))).toEqual(bytes);
  });
});

function utf8(value: string): Buffer {
  return Buffer.from(value, 'utf8');
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('utf8');
}
