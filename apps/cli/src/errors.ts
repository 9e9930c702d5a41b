/** What the program's exit code says. 0 is success and nothing else. */
export const exitCodes = {
  ok: 0,
  jobFailed: 1,
  /** The command was not carried out: bad arguments, a refusal, no instance. */
  notDone: 2,
  jobCanceled: 3,
  /** 128 + SIGINT, as shells count it. */
  interrupted: 130,
} as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** An error whose message is all that the person at the terminal needs; printed without a stack. */
export class CliError extends Error {
  override readonly name: string = 'CliError';
  readonly hint: string | undefined;
  readonly exitCode: ExitCode;
  constructor(
    message: string,
    options: { hint?: string | undefined; exitCode?: ExitCode; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.hint = options.hint;
    this.exitCode = options.exitCode ?? exitCodes.notDone;
  }
}

/** The instance answered with an error of its API. */
export class ApiRefusal extends CliError {
  override readonly name = 'ApiRefusal';
  readonly status: number;
  readonly code: string;
  constructor(status: number, error: { code: string; message: string; hint?: string | undefined }) {
    super(error.message, { hint: error.hint });
    this.status = status;
    this.code = error.code;
  }
}

/** No answer came from the instance; another try may get one. */
export class Unreachable extends CliError {
  override readonly name = 'Unreachable';
}

/** Ctrl-C or SIGTERM. */
export class Interrupted extends CliError {
  override readonly name = 'Interrupted';
  constructor(message = 'interrupted') {
    super(message, { exitCode: exitCodes.interrupted });
  }
}
