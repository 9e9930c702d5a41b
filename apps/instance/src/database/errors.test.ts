import { describe, expect, test } from 'vitest';
import { DatabaseUnavailableError, isPassingFailure, isUnstorableValue } from './errors.ts';

describe('isPassingFailure', () => {
  test.each([
    [new DatabaseUnavailableError('x'), true],
    [Object.assign(new Error('terminating connection'), { code: '57P01' }), true],
    [Object.assign(new Error('deadlock detected'), { code: '40P01' }), true],
    [Object.assign(new Error('duplicate key'), { code: '23505' }), false],
    [Object.assign(new Error('connect'), { code: 'ENOENT', syscall: 'connect' }), true],
    [Object.assign(new Error('read'), { code: 'ECONNRESET', syscall: 'read' }), true],
    [Object.assign(new Error('write'), { code: 'EPIPE', syscall: 'write' }), true],
    [Object.assign(new Error('no such file'), { code: 'ENOENT', syscall: 'open' }), false],
    [new Error('Connection terminated unexpectedly'), true],
    [new Error('Client has encountered a connection error and is not queryable'), true],
    [new Error('Client was closed and is not queryable'), true],
    [new Error('timeout expired'), true],
    [new Error('the timeout of a step'), false],
    ['not an error', false],
  ])('%s: %s', (error, passing) => {
    expect(isPassingFailure(error)).toBe(passing);
  });
});

test('isUnstorableValue tells class 22', () => {
  expect(isUnstorableValue(Object.assign(new Error('x'), { code: '22P05' }))).toBe(true);
  expect(isUnstorableValue(Object.assign(new Error('x'), { code: '23505' }))).toBe(false);
});
