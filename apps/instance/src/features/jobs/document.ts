import type { JobDocument, JobFile } from '@kiln/protocol';
import type { GivenSecrets } from '../secrets/index.ts';
import type { StoredFile } from './files.ts';
import type { SubmittedJob } from './store.ts';

/** The bucket of submitted files in `/.executors/files/<bucket>/<key>`. */
export const filesBucket = 'jobs';

/**
 * The job document of a submitted job. `id`, `token`, `attempt`, `queue` and `timeoutSeconds` are set by the executor
 * API. The repository is the workspace's root.
 */
export function buildDocument(job: SubmittedJob, secrets: GivenSecrets): JobDocument {
  const { spec } = job;
  const secretEnv = [...secrets.values].map(variable);
  return {
    id: job.jobId,
    token: '',
    repositoryName: job.repository ?? '',
    repositoryDirectory: '',
    commit: job.commit ?? '',
    fetchTags: spec.clone.tags,
    shallowClone: spec.clone.shallow,
    sparseCheckout: spec.clone.sparse,
    files: Object.fromEntries(job.files.map((file) => [file.path, documentFile(file)])),
    dockerSteps: spec.steps.map((step) => ({
      key: step.key ?? '',
      image: step.image,
      // A failing line fails the step. Tracing is asked for here, because genuine executors trace in any case and ours never.
      commands: ['set -e', ...(spec.trace ? ['set -x'] : []), step.run],
      dir: step.dir,
      env: [...Object.entries(step.env).map(variable), ...secretEnv],
    })),
    cliSteps: [],
    redactedValues: Object.fromEntries(
      [...secrets.values].map(([key, value]) => [value, `\${{ secrets.${key} }}`]),
    ),
    dockerAuthConfig: secrets.dockerAuth,
    ...(spec.network === null ? {} : { network: spec.network }),
    ...(spec.resources === null ? {} : { resources: spec.resources }),
  };
}

function variable([name, value]: readonly [string, string]): string {
  return `${name}=${value}`;
}

function documentFile(file: StoredFile): JobFile {
  return 'text' in file
    ? { content: Buffer.from(file.text, 'utf8') }
    : { bucket: filesBucket, key: file.key };
}
