import { formatByteSize } from '@kiln/protocol';
import { SandboxError } from '../runtime.ts';

/** The kernel's limit for one variable with its name; a longer one keeps every program from starting. */
const maxVariableBytes = 128 * 1024 - 1;
/** A quarter of the usual stack of 8 MiB is all that a program's environment and arguments may take; a part is for arguments. */
const maxEnvironmentBytes = (2 * 1024 - 64) * 1024;
/** Each variable ends with a zero byte and has a pointer to it. */
const bytesPerVariable = 9;

/** @throws SandboxError when no program could be started with it */
export function checkEnvironment(env: readonly string[]): void {
  const tooLong = env.find((variable) => Buffer.byteLength(variable) > maxVariableBytes);
  if (tooLong !== undefined)
    throw new SandboxError(
      `environment variable ${tooLong.split('=', 1)[0]} holds more than the 128 KiB that Linux allows: pass it in a file`,
      { infrastructure: false },
    );
  const bytes = env.reduce((sum, variable) => sum + Buffer.byteLength(variable) + bytesPerVariable, 0);
  if (bytes > maxEnvironmentBytes)
    throw new SandboxError(
      `the environment variables of this step are too long together (${formatByteSize(bytes)}; Linux allows programs 2 MiB): pass some in files`,
      { infrastructure: false },
    );
}
