/** Texts of the executor protocol, byte for byte. Genuine executors and their operators know them. */
export const messages = {
  notConfigured: 'Executors are not configured on this instance',
  sharedSecretMissing:
    'no token value in the HTTP Authorization request header (recommended) or basic auth (deprecated)',
  sharedSecretForm: `HTTP Authorization request header value must be of the following form: 'token-executor "TOKEN"'`,
  sharedSecretScheme:
    'unrecognized HTTP Authorization request header scheme (supported values: "token-executor")',
  jobAuthForm: `HTTP Authorization request header value must be of the following form: 'Bearer "TOKEN"' or 'token-executor TOKEN'`,
  jobAuthScheme:
    'unrecognized HTTP Authorization request header scheme (supported values: "Bearer", "token-executor")',
  jobAuthMissing: 'no token value in the HTTP Authorization request header',
  jobIdMissing: "job ID not provided in header 'X-Sourcegraph-Job-ID'",
  jobIdInvalid: (value: string) =>
    `failed to parse Job ID: strconv.Atoi: parsing ${JSON.stringify(value)}: invalid syntax`,
  executorNameMissing: 'worker hostname cannot be empty',
  invalidToken: 'invalid token',
  unknownJob: 'unknown job',
  staleAttempt: 'stale attempt',
  invalidQueues: (names: readonly string[], supported: readonly string[]) =>
    `Invalid queue name(s) '${names.join(', ')}' found. Supported queue names are '${supported.join(', ')}'.`,
  queueNamesMissing: 'queueNames must be set for multi-queue heartbeats',
  unsupportedQueues: (names: readonly string[], configured: readonly string[]) =>
    `unsupported queue name(s) '${names.join(', ')}' submitted in queueJobIds, executor is configured for queues '${configured.join(', ')}'`,
  lostTooOften: 'job processor died while handling this message too many times',
  documentFailed: (cause: string) => `failed to transform record: ${cause}`,
  /** Begins the message of a job that ran out of time, whoever noticed. */
  overTimePrefix: 'job exceeded maximum execution time',
  overTime: (limit: string) => `${messages.overTimePrefix} of ${limit}`,
} as const;

export const jobIdHeader = 'X-Sourcegraph-Job-ID';
export const executorNameHeader = 'X-Sourcegraph-Executor-Name';
export const actorHeader = 'X-Sourcegraph-Actor-UID';
export const sharedSecretScheme = 'token-executor';
