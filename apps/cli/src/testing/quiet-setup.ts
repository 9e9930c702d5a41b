import { PassThrough } from 'node:stream';
import type { CommandSetup } from '../session.ts';

/** For programs whose commands are looked at and not run. */
export function quietSetup(): CommandSetup {
  return {
    invocation: {
      args: [],
      env: {},
      cwd: '/',
      stdin: new PassThrough(),
      stdout: new PassThrough(),
      stderr: new PassThrough(),
      interrupted: new AbortController().signal,
    },
    setExitCode: () => undefined,
  };
}
