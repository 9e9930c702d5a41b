import {
  type DockerAuthConfig,
  dockerAuthConfigSchema,
  dockerAuthMistakes,
  dockerAuthSecretKey,
  maxSecretValueBytes,
} from '@kiln/protocol';
import { ApiError } from '../../api-error.ts';

/** Shorter values are masked in logs as whole words only (packages/redaction). */
const minMaskedBytes = 6;

/**
 * Checks a value that is to be kept. No message quotes it.
 * @returns remarks that do not refuse it
 * @throws ApiError 400 `invalid_secret`
 */
export function checkSecretValue(key: string, value: string): string[] {
  const bytes = Buffer.byteLength(value);
  const mistakes =
    value.trim() === ''
      ? ['is empty']
      : [
          ...(value.includes('\0') ? ['holds a NUL character, which no variable can'] : []),
          ...(value.isWellFormed() ? [] : ['is not valid Unicode text']),
          ...(bytes > maxSecretValueBytes
            ? [`has ${bytes} bytes; at most ${maxSecretValueBytes} are kept`]
            : []),
        ];
  if (mistakes.length === 0 && key === dockerAuthSecretKey) mistakes.push(...registryMistakes(value));
  if (mistakes.length > 0) {
    throw new ApiError(400, 'invalid_secret', `The value of ${key} ${mistakes.join('; ')}`);
  }
  return Buffer.byteLength(value.trim()) < minMaskedBytes
    ? [
        `The value of ${key} has fewer than ${minMaskedBytes} bytes: in logs it is masked only where it stands as a word of its own, and whoever sees a log may guess it.`,
      ]
    : [];
}

/** The credentials in a value that {@link checkSecretValue} passed. */
export function readDockerAuth(value: string): DockerAuthConfig {
  return dockerAuthConfigSchema.parse(JSON.parse(value));
}

function registryMistakes(value: string): string[] {
  let config: unknown;
  try {
    config = JSON.parse(value);
  } catch {
    // The parser's own message would quote the value.
    return ['is not JSON; it takes the content of a Docker config.json with "auths"'];
  }
  return dockerAuthMistakes(config);
}
