import { jobViewSchema } from '@kiln/protocol';
import type { Command } from 'commander';
import { type CommandSetup, openSession } from '../session.ts';
import { buildSubmission, type SubmitOptions } from '../submission.ts';
import { waitForJob } from '../wait-for-job.ts';
import { collect, cpus, depth, priority } from './arguments.ts';

/** Resolving a revision may fetch the repository first, for which an instance takes up to a minute. */
const submitTimeoutSeconds = 90;

const examples = `
Examples:
  kiln job submit --wait --image busybox -- echo hello
  kiln job submit --wait --image busybox -- 'ls -l; echo "a script, in quotes"'
  kiln job submit --repo github.com/acme/widgets --rev main --step 'golang:1.24: go test ./...'
  kiln job submit --file job.json --wait
`;

export function addJobSubmit(job: Command, { invocation, setExitCode }: CommandSetup): void {
  job
    .command('submit')
    .description('submit a job: steps that run one after the other in containers and share a workspace')
    .argument('[command...]', 'what to run in --image, after "--"; one word is a shell script')
    .option('-w, --wait', 'follow the job and exit with its outcome (0 completed, 1 failed, 3 canceled)')
    .option('-f, --file <file>', 'the job as JSON, "-" for standard input; the options below add to it')
    .option('-i, --image <image>', 'container image of the command')
    .option('-s, --step <image: script>', 'add a step; may be repeated', collect, [])
    .option('-r, --repo <name>', 'repository to clone into the workspace')
    .option('--rev <revision>', 'branch, tag or commit of it')
    .option('--dir <path>', 'working directory of the steps given here, relative to the repository')
    .option(
      '-e, --env <name[=value]>',
      'variable for every step; without a value, the one set here',
      collect,
      [],
    )
    .option('-p, --put <path[=file]>', 'put a local file into the workspace; may be repeated', collect, [])
    .option('--secret <name>', 'executor secret for every step; may be repeated', collect, [])
    .option('--depth <0|1>', '1 clones the commit alone (default), 0 the whole history', depth)
    .option('--tags', 'clone tags too')
    .option('--sparse <pattern>', 'clone only what matches; may be repeated', collect, [])
    .option('-t, --timeout <duration>', 'time limit, such as 30m')
    .option('--priority <number>', 'from -100 to 100, higher first among the jobs of one namespace', priority)
    .option('--namespace <name>', 'user or organization that the job belongs to')
    .option('--network <kind>', 'public or none')
    .option('--cpus <number>', 'CPUs for each step', cpus)
    .option('--memory <size>', 'memory for each step, such as 2G')
    .option('--disk <size>', 'disk for the job, such as 10G')
    .option('--trace', 'print each command before it runs')
    .option('--queue <name>', 'queue to use (default: jobs)')
    .option('--idempotency-key <key>', 'submitting again with the same key returns the first job')
    .addHelpText('after', examples)
    .action(
      async (words: string[], options: SubmitOptions & { wait?: true; idempotencyKey?: string }, command) => {
        const session = await openSession(command, invocation);
        const { client, output } = session;
        const body = await buildSubmission(options, words, invocation);
        const submittedAtMs = performance.now();
        const submitted = await client.call('POST', '/.api/jobs', jobViewSchema, {
          body,
          timeoutSeconds: submitTimeoutSeconds,
          headers: options.idempotencyKey === undefined ? {} : { 'idempotency-key': options.idempotencyKey },
        });
        for (const notice of submitted.notices) output.note(output.style('yellow', `notice: ${notice}`));
        if (options.wait) {
          output.note(`job ${submitted.id} submitted`);
          setExitCode(await waitForJob(session, submitted, submittedAtMs));
        } else if (output.json) {
          output.jsonLine(submitted);
        } else {
          output.line(String(submitted.id));
          output.note(`submitted; follow it with: kiln job logs --follow ${submitted.id}`);
        }
      },
    );
}
