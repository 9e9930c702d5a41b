import type { JobDocument, Usage } from '@kiln/protocol';
import { createRedactor } from '@kiln/redaction';
import { createJobLog } from '../logs/index.ts';
import { resolveRegistryAuth } from '../registry-auth/index.ts';
import { cloneRepository, writeJobFiles } from '../workspace/index.ts';
import { auditJob } from './audit.ts';
import type { JobContext } from './context.ts';
import { startDeadline } from './deadline.ts';
import { endOf, type JobEnd } from './failure.ts';
import { checkHostSrc, runHostSrc } from './host-src.ts';
import { sandboxLimits, timeLimitSeconds } from './limits.ts';
import { report } from './report.ts';
import { openSandbox } from './sandbox.ts';
import { secretsOf } from './secrets.ts';
import { runSteps } from './steps.ts';
import { openWorkspace } from './workspace.ts';

/**
 * The life of one job: workspace, repository, files, sandbox, steps, and back; then the log is completed and the
 * outcome told to the instance. What then is still to be removed from the machine is waited for.
 * @returns how it ended. Never fails: every failure is an outcome.
 */
export async function runJob(document: JobDocument, context: JobContext): Promise<JobEnd> {
  const { settings, client, runtime, state } = context;
  const { auth: registryAuth, notices: registryNotices } = await resolveRegistryAuth({
    job: document.dockerAuthConfig,
    setting: settings.dockerAuthConfig,
    homeDirectory: context.homeDirectory,
    images: document.dockerSteps.map((step) => step.image),
    hostEnvironment: context.hostEnvironment,
    signal: context.stop,
  });
  const secrets = secretsOf(document, settings.sharedSecret, registryAuth);
  using _registered = context.secrets.add(secrets);
  if (settings.jobAuditLogging) auditJob(document, context.queue, context.processLog);
  const redactor = createRedactor(secrets);
  const limitSeconds = timeLimitSeconds(document, settings.maximumRuntimePerJobSeconds);
  using deadline = startDeadline(limitSeconds);
  const signal = AbortSignal.any([context.stop, deadline.signal]);
  const log = createJobLog({
    client,
    redactor,
    stop: signal,
    limitBytes: settings.jobLogLimitBytes,
    onCommand: context.onCommand,
    processLog: context.processLog,
  });
  const usage: Usage[] = [];
  const leftovers: Promise<void>[] = [];
  let stage = 'creating workspace';
  let anythingRan = false;

  async function work(): Promise<void> {
    checkHostSrc(document, settings.allowHostSrc);
    await using workspace = await openWorkspace({
      ...context,
      root: context.workspaceRoot,
      jobId: document.id,
      keep: settings.keepWorkspaces,
      log,
    });
    const workspaceDirectory = workspace.directory;
    const shared = { document, workspaceDirectory, stateDirectory: state.directory, client, log, signal };
    await cloneRepository({ ...shared, path: context.hostEnvironment['PATH'] ?? '' });
    await writeJobFiles(shared);
    const onStep = (logKey: string) => {
      stage = `running command "${logKey}"`;
    };
    if (document.dockerSteps.length > 0) {
      stage = 'creating runner';
      const { limits, notices } = sandboxLimits(document, context.limits);
      const job = {
        id: document.id,
        attempt: document.attempt ?? 0,
        workspaceDirectory,
        images: [...new Set(document.dockerSteps.map((step) => step.image))],
        network: document.network ?? 'public',
        limits,
        registryAuth,
      };
      await using opened = await openSandbox(
        runtime,
        job,
        [...registryNotices, ...notices],
        log,
        context.processLog,
        signal,
        (work) => leftovers.push(work),
      );
      await runSteps({
        ...shared,
        sandbox: opened.sandbox,
        onStep,
        onUsage(used) {
          anythingRan = true;
          usage.push(used);
        },
      });
    }
    await runHostSrc({ ...shared, registryAuth, hostEnvironment: context.hostEnvironment, onStep });
  }

  let end: JobEnd;
  try {
    await work();
    end = { kind: 'markComplete' };
  } catch (error) {
    end = endOf(error, stage, signal, limitSeconds, anythingRan);
    context.processLog.debug({ error, job: document.id, end: end.kind }, 'job did not complete');
  }
  // From here on it is shown to people, here and at the instance.
  if ('message' in end) end = { ...end, message: redactor.redactText(end.message) };
  await report(document, end, usage, log, context);
  context.onReported();
  await Promise.all(leftovers);
  return end;
}
