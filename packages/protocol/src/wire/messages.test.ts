import { describe, expect, it } from 'vitest';
import { readFixture } from '../testing/fixtures.ts';
import { messages } from './messages.ts';

interface Case {
  authorization: string | null;
  jobId?: string | null;
  status: number;
  text?: string;
}
const vectors = readFixture('authentication') as { sharedSecretRoutes: Case[]; jobRoutes: Case[] };

describe('texts of refusals', () => {
  it("of the routes for the shared secret are the reference's", () => {
    expect(new Set(texts(vectors.sharedSecretRoutes))).toEqual(
      new Set([messages.sharedSecretMissing, messages.sharedSecretForm, messages.sharedSecretScheme]),
    );
  });

  it("of the routes of a job are the reference's", () => {
    expect(new Set(texts(vectors.jobRoutes))).toEqual(
      new Set([
        messages.jobAuthForm,
        messages.jobAuthScheme,
        messages.jobAuthMissing,
        messages.jobIdMissing,
        messages.jobIdInvalid('abc'),
        messages.executorNameMissing,
        messages.invalidToken,
      ]),
    );
  });
});

function texts(cases: Case[]): string[] {
  return cases.flatMap(({ text }) => (text === undefined || text === '' ? [] : [text]));
}
