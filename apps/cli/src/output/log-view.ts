import { isEnded, type LogEntryView, type LogEvent, type StepView } from '@kiln/protocol';
import { showMilliseconds } from './durations.ts';
import { type LogLine, LogLines } from './log-lines.ts';
import type { Output } from './output.ts';

export interface LogViewOptions {
  /**
   * `steps`: what steps write is the result (standard output), the rest one line of progress per command, with its
   * output only when it failed. `everything`: the whole log is the result.
   */
  show: 'steps' | 'everything';
  steps: readonly StepView[];
  /** Called at the first byte that a step wrote. */
  onFirstOutput?: () => void;
}

interface OpenEntry {
  view: LogEntryView;
  lines: LogLines;
  step: number | undefined;
  /** The last lines of a command that is no step, kept for the case that it fails. */
  kept: string[];
  ended: boolean;
}

const keptLines = 40;
const stepPrefix = 'step.docker.';

/** Prints the events of a job's log as they come. */
export class LogView {
  readonly #output: Output;
  readonly #options: LogViewOptions;
  readonly #entries = new Map<string, OpenEntry>();
  #attempt = 0;
  #waiting = '';
  #sawOutput = false;

  constructor(output: Output, options: LogViewOptions) {
    this.#output = output;
    this.#options = options;
  }

  show(event: LogEvent): void {
    switch (event.event) {
      case 'job':
        this.#job(event.data);
        break;
      case 'entry':
        this.#entry(event.data);
        break;
      case 'output':
        this.#bytes(event.data);
        break;
      case 'end':
        for (const entry of this.#entries.values()) entry.lines.end();
    }
  }

  #job(job: Extract<LogEvent, { event: 'job' }>['data']): void {
    const { style } = this.#output;
    if (job.state === 'queued' && job.waiting && job.waiting.message !== this.#waiting) {
      this.#waiting = job.waiting.message;
      this.#progress(style('yellow', `waiting: ${job.waiting.message}`));
    }
    if (job.attempt > this.#attempt && !isEnded(job.state)) {
      const again = job.attempt > 1 ? `attempt ${job.attempt}, ` : '';
      this.#attempt = job.attempt;
      this.#progress(style('dim', `${again}on executor ${job.executor ?? 'unknown'}`));
    }
  }

  #entry(view: LogEntryView): void {
    const id = `${view.attempt}.${view.entry}`;
    let entry = this.#entries.get(id);
    if (!entry) {
      entry = this.#open(view);
      this.#entries.set(id, entry);
    }
    entry.view = view;
    if (view.exitCode !== null && !entry.ended) {
      entry.ended = true;
      entry.lines.end();
      this.#close(entry);
    }
  }

  #open(view: LogEntryView): OpenEntry {
    const index = this.#options.steps.findIndex((step) => `${stepPrefix}${step.key}` === view.key);
    const step = index < 0 ? undefined : index;
    const entry: OpenEntry = {
      view,
      step,
      kept: [],
      ended: false,
      lines: new LogLines(
        (line) => this.#line(entry, line),
        (missing) => this.#progress(`  (${missing} bytes of output are missing here)`),
      ),
    };
    if (this.#options.show === 'everything') {
      const heading = `[${view.key}] $ ${view.command.join(' ')}`;
      this.#output.line(this.#output.style('bold', heading, 'stdout'));
    } else if (isStep(entry)) {
      this.#progress(this.#output.style('bold', this.#stepTitle(entry)));
    }
    return entry;
  }

  #line(entry: OpenEntry, line: LogLine): void {
    if (this.#options.show === 'everything') {
      const text = line.stream === 'stderr' ? this.#output.style('dim', line.text, 'stdout') : line.text;
      this.#output.line(text);
    } else if (!isStep(entry)) {
      entry.kept.push(line.text);
      if (entry.kept.length > keptLines) entry.kept.shift();
    } else if (line.stream === 'stdout') this.#output.line(line.text);
    else this.#output.note(line.text);
  }

  #close(entry: OpenEntry): void {
    const { exitCode, durationMs, key } = entry.view;
    const failed = exitCode !== 0;
    const took = durationMs === null ? '' : ` in ${showMilliseconds(durationMs)}`;
    const outcome = `${failed ? (exitCode === -1 ? 'killed' : `exit code ${exitCode}`) : 'done'}${took}`;
    const { style } = this.#output;
    if (this.#options.show === 'everything') {
      this.#output.line(style(failed ? 'red' : 'green', `[${key}] ${outcome}`, 'stdout'));
      return;
    }
    const title = isStep(entry) ? this.#stepTitle(entry) : `  ${key}`;
    this.#progress(style(failed ? 'red' : isStep(entry) ? 'green' : 'dim', `${title}: ${outcome}`));
    if (failed) for (const line of entry.kept) this.#output.note(`    ${line}`);
    entry.kept = [];
  }

  #bytes({ attempt, entry, offset, data }: Extract<LogEvent, { event: 'output' }>['data']): void {
    const open = this.#entries.get(`${attempt}.${entry}`);
    if (!open) return;
    if (isStep(open) && !this.#sawOutput) {
      this.#sawOutput = true;
      this.#options.onFirstOutput?.();
    }
    open.lines.write(offset, Buffer.from(data, 'base64'));
  }

  #stepTitle({ step, view }: OpenEntry): string {
    const { steps } = this.#options;
    const planned = step === undefined ? undefined : steps[step];
    if (step === undefined || !planned) return view.key;
    const name = planned.key === String(step) ? '' : ` ${planned.key}`;
    return `step ${step + 1}/${steps.length}${name} (${planned.image})`;
  }

  #progress(text: string): void {
    if (this.#options.show === 'steps') this.#output.note(text);
  }
}

function isStep(entry: OpenEntry): boolean {
  return entry.step !== undefined || entry.view.key.startsWith(stepPrefix);
}
