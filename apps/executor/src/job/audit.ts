import type { JobDocument, QueueName } from '@kiln/protocol';
import type { Logger } from '../process-log/index.ts';

/**
 * One line of the process log with what a job is, for `EXECUTOR_ENABLE_JOB_AUDIT_LOGGING` (from the reference): names
 * of secrets instead of values, no file contents. The log itself removes secret values from commands and environments.
 */
export function auditJob(document: JobDocument, queue: QueueName, log: Logger): void {
  const { dockerSteps, cliSteps } = document;
  log.warn(
    {
      job: document.id,
      attempt: document.attempt,
      queue,
      repository: document.repositoryName,
      repositoryDirectory: document.repositoryDirectory,
      commit: document.commit,
      fetchTags: document.fetchTags,
      shallowClone: document.shallowClone,
      sparseCheckout: document.sparseCheckout,
      secrets: Object.values(document.redactedValues),
      registryCredentials: Object.keys(document.dockerAuthConfig.auths ?? {}).length,
      files: Object.keys(document.files),
      dockerSteps: dockerSteps.map(({ key, image, commands, dir, env }) => ({
        key,
        image,
        commands,
        dir,
        env,
      })),
      cliSteps,
    },
    'job audit',
  );
}
