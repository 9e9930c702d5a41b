import { describe, expect, it } from 'vitest';
import { dockerAuthMistakes } from './docker-auth.ts';

const base64 = (text: string) => Buffer.from(text).toString('base64');
const mistakesOf = (auth: unknown) => dockerAuthMistakes({ auths: { 'r.example': { auth } } });

describe('dockerAuthMistakes', () => {
  it('finds none in what Docker writes', () => {
    expect(mistakesOf(base64('user:password'))).toEqual([]);
    expect(mistakesOf(base64('user:pass:word'))).toEqual([]);
    expect(mistakesOf(base64('AWS:pässword'))).toEqual([]);
    expect(dockerAuthMistakes({ auths: {} })).toEqual([]);
  });

  it.each([
    [null, 'must be a JSON object with "auths"'],
    [[], 'must be a JSON object with "auths"'],
    ['text', 'must be a JSON object with "auths"'],
    [{}, 'has no "auths"'],
    [{ auths: {}, credsStore: 'desktop' }, expect.stringMatching(/^has "credsStore": programs that keep/)],
    [{ credHelpers: { 'r.example': 'ecr-login' } }, expect.stringMatching(/^has "credHelpers"/)],
    [{ auths: [] }, '"auths" must be an object of registries'],
    [{ auths: null }, '"auths" must be an object of registries'],
    [{ auths: { 'r.example': null } }, 'auths["r.example"]: has no "auth" string'],
  ])('says what is wrong with %j', (config, mistake) => {
    expect(dockerAuthMistakes(config)).toEqual([mistake]);
  });

  it.each([
    [undefined, 'has no "auth" string'],
    ['', 'has no "auth" string'],
    [5, 'has no "auth" string'],
    ['user:password', '"auth" is not base64'],
    ['dXNlcjpwYXNz=', '"auth" is not base64'],
    [base64('user:password\n'), 'decoded "auth" ends in a newline (made by `echo` without `-n`?)'],
    [base64('password'), 'decoded "auth" is not of the form user:password'],
  ])('says what is wrong with auth %j', (auth, mistake) => {
    expect(mistakesOf(auth)).toEqual([`auths["r.example"]: ${mistake}`]);
  });

  it('never quotes a credential', () => {
    const wrong = ['SECRET', base64('SECRET'), base64('SECRET\n'), 'SECRET:!!'];
    expect(wrong.flatMap(mistakesOf).join()).not.toMatch(/SECRET|U0VDUkVU/);
  });
});
