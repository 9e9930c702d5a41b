import { createHash } from 'node:crypto';
import type { DockerStep, JobDocument } from '@kiln/protocol';

const scriptDirectory = '.sourcegraph-executor';

/** Path of a step's script below the workspace (from the reference). */
export function scriptPath(document: JobDocument, index: number): string {
  const name = `${document.id}.${index}_${document.repositoryName.replaceAll('/', '_')}@${document.commit}.sh`;
  return `${scriptDirectory}/${shorten(name)}`;
}

/**
 * Content of a step's script: it starts itself again under bash where the image has it, then runs the step's lines.
 * Documents of genuine instances are traced (`+ ...` on stderr), as the reference does it for every step; a document
 * with an attempt comes from a Kiln instance, which writes `set -x` among the lines when a trace was asked for.
 */
export function renderScript(document: JobDocument, step: DockerStep): string {
  const trace = document.attempt === undefined ? 'set -x\n' : '';
  return `${underBash}set +e\n${trace}\n${step.commands.map((line) => `${line}\n`).join('')}`;
}

/** The marker argument tells the second run, under bash, that it is one. */
const underBash = `if [ -z "$1" ]; then
  if bash=$(command -p -v bash 2>/dev/null) && [ -n "$bash" ]; then
    exec "$bash" "$0" in-bash
  elif [ -x /bin/bash ]; then
    exec /bin/bash "$0" in-bash
  fi
  unset bash
else
  shift
fi
`;

/** A file name has at most 255 bytes; repository names have up to 512 characters. */
function shorten(name: string): string {
  if (Buffer.byteLength(name) <= 255) return name;
  const hash = createHash('sha256').update(name).digest('hex').slice(0, 16);
  return `${Buffer.from(name).subarray(0, 200).toString('utf8').replace(/�+$/, '')}-${hash}.sh`;
}
